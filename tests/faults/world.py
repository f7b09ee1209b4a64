"""One scenario: a database, a network, the service, its clients, and the bars for all of them."""

import json
import re
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults.load import ACCOUNTS, API, BALANCE, Answer, Load, Look, Probe
from faults.proxy import Proxy
from faults.servers import SECRETS
from faults.service import Service
from faults.verdict import Verdict, tally
from faults.waiting import wait_until

# The bars, in seconds and connections.
LONGEST_REQUEST = 12.0
LIVE_WITHIN = 1.0
READY_ANSWERS_WITHIN = 2.0
UNREADY_WITHIN = 6.0
RECOVERY = 5.0
POOL = 5 + 10
SESSIONS = POOL + 2


@dataclass
class Outage:
    """When something was broken."""

    start: float
    end: float = float("inf")
    unseen: bool = False
    """No client may notice."""
    loses_database: bool = True
    """Readiness must notice."""
    kills_service: bool = False
    """What the dead process was about to answer, nobody can answer."""


class World:
    """What a scenario plays with. It starts nothing by itself but the proxy."""

    def __init__(
        self,
        verdict: Verdict,
        database: Any,
        python: Path,
        project: Path,
        directory: Path,
    ) -> None:
        self.verdict = verdict
        self.database = database
        self.proxy: Any = Proxy(database.port) if hasattr(database, "port") else None
        self.python = python
        self.project = project
        self.directory = directory
        self.services: list[Service] = []
        self.probe: Probe | None = None
        self.accounts: list[int] = []
        self.loads: list[Load] = []
        self.outages: list[Outage] = []
        self.watches_liveness = True
        # The service is told to end: whoever comes later meets nobody.
        self.ends = False
        self.extra_sessions = 0
        self.checks_sessions = True

    @property
    def url(self) -> str:
        """The database by way of the proxy."""
        return str(self.database.url(self.proxy.port if self.proxy else 0))

    @property
    def service(self) -> Service:
        """The service that was started last."""
        return self.services[-1]

    def start(self, *, ready: bool = True, probe: bool = True, **settings: str) -> Service:
        """Start the service with a few users who have money; watch its health from then on."""
        service = Service(
            self.python, self.project, self.directory, {"DATABASE_URL": self.url, **settings}
        )
        self.services.append(service)
        service.start()
        if ready:
            service.wait_until_ready()
            self.open_accounts()
        if probe:
            self.watch()
        return service

    def watch(self) -> None:
        """Look at the health of the service from now on."""
        counts = self.database.sessions if self.checks_sessions else None
        self.probe = Probe(self.service.port, counts)
        self.probe.start()

    def open_accounts(self) -> None:
        """Create the users whose money the ledger is about, unless there are any."""
        for number in range(len(self.accounts), ACCOUNTS):
            name = f"account{number}"
            body = {"username": name, "email": f"{name}@example.org", "balance": f"{BALANCE}.00"}
            answer = self.ask("POST", "/users", body)
            assert answer.status == 201, answer.text
            self.accounts.append(answer.body["id"])

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: dict[str, str] | None = None,
        seconds: float = 40,
    ) -> Answer:
        """Send one request and give its answer."""
        answer = Answer(f"{method} {path}", time.monotonic())
        url = f"http://127.0.0.1:{self.service.port}"
        url += path if path.startswith("/health") else API + path
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **(headers or {})}
        request = urllib.request.Request(url, data, headers, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), NoErrors())
        try:
            with opener.open(request, timeout=seconds) as response:
                answer.status = response.status
                answer.media_type = response.headers.get_content_type()
                answer.retry_after = response.headers["Retry-After"]
                answer.text = response.read().decode()
                answer.body = json.loads(answer.text) if answer.text else None
        except (OSError, ValueError) as error:
            answer.error = repr(error)
        answer.seconds = time.monotonic() - answer.start
        return answer

    def answers_well(self, answer: Answer, *statuses: int) -> None:
        """Expect one of these statuses, by the rules for all answers."""
        for bar in answer.broken_bars():
            self.verdict.expect(False, f"{answer.operation}: {bar}")
        expected = answer.status in statuses
        said = f"{answer.status or answer.error} instead of {statuses}"
        self.verdict.expect(expected, f"{answer.operation}: {said}: {answer.text[:150]}")
        self.verdict.expect(not shows_password(answer.text), "an answer shows the password")
        bar = f"{answer.operation} took {answer.seconds:.1f} s"
        self.verdict.expect(answer.seconds <= LONGEST_REQUEST, bar)

    @contextmanager
    def load(
        self,
        clients: int = 12,
        pause: float = 0.02,
        operations: tuple[str, ...] | None = None,
        keep_alive: bool = True,
    ) -> Iterator[Load]:
        """Have clients read and write while the block runs."""
        load = Load(
            f"http://127.0.0.1:{self.service.port}",
            clients=clients,
            pause=pause,
            operations=operations,
            keep_alive=keep_alive,
            accounts=self.accounts,
        )
        self.loads.append(load)
        with load:
            yield load

    @contextmanager
    def outage(
        self,
        *,
        unseen: bool = False,
        loses_database: bool = True,
        kills_service: bool = False,
    ) -> Iterator[Outage]:
        """Something is broken while the block runs."""
        outage = Outage(time.monotonic(), float("inf"), unseen, loses_database, kills_service)
        self.outages.append(outage)
        yield outage
        outage.end = time.monotonic()

    def recover(self, load: Load, seconds: float = 8) -> None:
        """Wait until everything is well again for a second, but no longer than so many."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            time.sleep(0.1)
            now = time.monotonic()
            recent = [answer for answer in load.answers if answer.end > now - 1]
            looks = [look for look in self.ready_looks() if look.start > now - 1]
            well = all(answer.ok for answer in recent) and all(look.status == 200 for look in looks)
            if self.outages and now < self.outages[-1].end + 1.2:
                continue
            if recent and looks and well:
                return

    def ready_looks(self) -> list[Look]:
        """All looks at readiness."""
        return list(self.probe.ready) if self.probe else []

    # The bars

    def judge(self) -> None:
        """Hold everything that happened against the bars; the service still runs."""
        self._judge_answers()
        self._judge_recovery()
        self._judge_health()
        if self.accounts:
            self._judge_data()
        self._judge_sessions()
        self._judge_secrets()

    def end_service(self) -> None:
        """End the service and look at it no more."""
        if self.probe is not None:
            self.probe.stop()
        for service in self.services:
            service.kill()

    def close(self) -> None:
        """End everything."""
        self.end_service()
        if self.proxy is not None:
            self.proxy.close()

    @property
    def answers(self) -> list[Answer]:
        """All answers to all clients."""
        return [answer for load in self.loads for answer in load.answers]

    def evidence(self) -> str:
        """What the service's log says of errors, each of them once, and where the first one was."""
        lines = Counter(
            re.sub(r"0x[0-9a-f]+|\d+", "…", line)
            for service in self.services
            for line in service.output.splitlines()
            if re.match(r"(\w+\.)*\w*(Error|Exception|Warning|Group)\b|\w+Error:", line)
        )
        said = [f"{count:5}x {line[:200]}" for line, count in lines.most_common(12)]
        output = "".join(service.output for service in self.services)
        _, _, first = output.partition("Traceback (most recent call last)")
        return "\n".join([*said, *first.splitlines()[:60]])

    def _judge_answers(self) -> None:
        answers = self.answers
        if not answers:
            return
        broken = Counter(
            bar
            for answer in answers
            if answer.status is not None or not self._died_with_it(answer)
            for bar in answer.broken_bars()
        )
        self.verdict.expect(not broken, tally(broken))
        slowest = max(answers, key=lambda answer: answer.seconds)
        bar = f"the slowest ({slowest.operation}: {slowest.status}) took {slowest.seconds:.1f} s"
        self.verdict.expect(slowest.seconds <= LONGEST_REQUEST, bar)
        failed = [answer for answer in answers if not answer.ok]
        outside = Counter(
            f"{answer.operation}: {answer.status} {(answer.body or {}).get('detail', '')}"
            for answer in failed
            if not any(excuses(outage, answer) for outage in self.outages)
        )
        self.verdict.expect(not outside, f"failed without an excuse: {tally(outside)}")
        self.verdict.note(f"{len(answers)} requests, {len(failed)} failed")
        self.verdict.note(f"slowest {slowest.seconds:.2f} s")

    def _died_with_it(self, answer: Answer) -> bool:
        return any(each.kills_service and excuses(each, answer) for each in self.outages)

    def _judge_recovery(self) -> None:
        for outage in [] if self.ends else self.outages:
            ended = outage.end
            following = [each.start for each in self.outages if each.start > outage.start]
            until = min(following, default=float("inf"))
            late = [
                answer.start - ended
                for answer in self.answers
                if not answer.ok and ended < answer.start < until
            ]
            ready = [look for look in self.ready_looks() if ended < look.start < until]
            back = next((look.start for look in ready if look.status == 200), None)
            took = max([*late, (back or ended) - ended])
            if ready:
                bar = f"readiness was not 200 within {RECOVERY:g} s of the return"
                self.verdict.expect(back is not None and back - ended <= RECOVERY, bar)
            self.verdict.expect(took <= RECOVERY, f"well only after {took:.1f} s")
            self.verdict.note(f"well after {took:.1f} s")
            if outage.loses_database and self.ready_looks():
                self._judge_loss(outage)

    def _judge_loss(self, outage: Outage) -> None:
        during = [look for look in self.ready_looks() if outage.start <= look.start <= outage.end]
        lost = next((look.start + look.seconds for look in during if look.status == 503), None)
        if outage.end - outage.start > UNREADY_WITHIN + 1:
            late = lost is None or lost - outage.start > UNREADY_WITHIN
            self.verdict.expect(not late, f"readiness not 503 within {UNREADY_WITHIN:g} s")

    def _judge_health(self) -> None:
        if self.probe is None:
            return
        # What this machine itself was late by is not the service's.
        lag = max([self.probe.lag, *(load.lag for load in self.loads)])
        if self.watches_liveness and self.probe.live:
            slowest = max(look.seconds for look in self.probe.live)
            dead = sum(look.status != 200 for look in self.probe.live)
            self.verdict.expect(not dead, f"liveness was not 200, {dead} times")
            self.verdict.expect(slowest <= LIVE_WITHIN + lag, f"liveness took {slowest:.1f} s")
            self.verdict.note(f"liveness ≤ {slowest:.2f} s")
            wrong = {look.status for look in self.probe.ready} - {200, 503}
            self.verdict.expect(not wrong, f"readiness answered {wrong}")
            slowest = max((look.seconds for look in self.probe.ready), default=0)
            self.verdict.expect(
                slowest <= READY_ANSWERS_WITHIN + lag, f"readiness took {slowest:.1f} s"
            )

    def _judge_data(self) -> None:
        counted = dict(self.database.query("SELECT name, count(*) FROM items GROUP BY name"))
        writes = [write for load in self.loads for write in load.writes]
        lost = [write for write in writes if write.acknowledged and not counted.get(write.name)]
        doubled = [write for write in writes if counted.get(write.name, 0) > 1]
        denied = [write for write in writes if not write.may_exist and counted.get(write.name)]
        undone = [write for write in writes if write.keyed and not write.acknowledged]
        self.verdict.expect(not lost, f"{len(lost)} acknowledged writes are lost")
        self.verdict.expect(not doubled, f"{len(doubled)} writes are doubled")
        statuses = Counter(str(write.answers[-1].status) for write in denied)
        self.verdict.expect(not denied, f"writes happened but were denied: {tally(statuses)}")
        if not self.ends:
            bar = f"{len(undone)} writes with a key never succeeded"
            self.verdict.expect(not undone, bar)
        columns = "id, from_user_id, to_user_id, amount"
        transfers = self.database.query(f"SELECT {columns} FROM transfers")
        recorded = {row[0] for row in transfers}
        told = [each for load in self.loads for each in load.transfers]
        absent = [each for each in told if each not in recorded]
        self.verdict.expect(not absent, f"{len(absent)} acknowledged transfers are lost")
        self._judge_ledger(transfers)

    def _judge_ledger(self, transfers: list[Any]) -> None:
        cents = 1 if self.database.kind == "sqlite" else 100
        expected = dict.fromkeys(self.accounts, BALANCE * 100)
        for _, sender, receiver, amount in transfers:
            if sender in expected and receiver in expected:
                expected[sender] -= round(amount * cents)
                expected[receiver] += round(amount * cents)
        rows = dict(self.database.query("SELECT id, balance FROM users"))
        found = {account: round(rows[account] * cents) for account in self.accounts}
        self.verdict.expect(found == expected, "the balances do not follow from the transfers")
        self.verdict.expect(
            sum(found.values()) == ACCOUNTS * BALANCE * 100, "money appeared or disappeared"
        )

    def _judge_sessions(self) -> None:
        if not self.checks_sessions or self.proxy is None:
            return
        limit = SESSIONS + self.extra_sessions
        most = max(self.probe.most_sessions if self.probe else 0, self.database.sessions())
        self.verdict.expect(most <= limit, f"{most} sessions, more than {limit}")
        try:
            wait_until(lambda: not self.database.sessions(busy=True), 3, "busy sessions ended")
        except AssertionError:
            left = self.database.sessions(busy=True)
            self.verdict.expect(False, f"{left} busy sessions are left behind")

    def _judge_secrets(self) -> None:
        shown = sum(shows_password(service.output) for service in self.services)
        self.verdict.expect(not shown, "the log shows the password")
        shown = sum(shows_password(answer.text) for answer in self.answers)
        self.verdict.expect(not shown, f"{shown} answers show the password")


class NoErrors(urllib.request.HTTPErrorProcessor):
    """Gives error answers as answers."""

    def http_response(self, request: Any, response: Any) -> Any:
        return response


def shows_password(text: str) -> bool:
    """Whether a text shows the password of the service."""
    return any(secret in text for secret in SECRETS)


def excuses(outage: Outage, answer: Answer) -> bool:
    """Whether an outage is an excuse for an answer."""
    overlaps = answer.start < outage.end + RECOVERY and answer.end > outage.start
    return overlaps and (not outage.unseen or answer.outcome_unknown)
