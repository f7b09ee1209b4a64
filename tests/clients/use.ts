// What a front end does: it creates a user, pages through a list, and handles a problem.
// `schema.d.ts` is generated; the compiler refuses this file where the document says less than it needs.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

declare const process: { argv: string[] };

type User = components["schemas"]["UserRead"];
type Problem = components["schemas"]["Problem"];

function check(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(what);
}

const client = createClient<paths>({ baseUrl: process.argv[2] ?? "" });

const key = { "Idempotency-Key": "typescript" };
const body = { username: "typescript", email: "typescript@example.org", balance: "12.50" };
const created = await client.POST("/api/v1/users", { body, params: { header: key } });
check(created.data !== undefined, "the user was not created");
const user: User = created.data;
check(user.balance === "12.50", "money is not exact");
check(created.response.headers.get("Location") === `/api/v1/users/${user.id}`, "no Location");

const again = await client.POST("/api/v1/users", { body, params: { header: key } });
check(again.data?.id === user.id, "the key was ignored");

const names: string[] = [];
let after: string | null = null;
do {
  const page: { data?: components["schemas"]["UserPage"] } = await client.GET("/api/v1/users", {
    params: { query: { limit: 1, ...(after !== null && { after }) } },
  });
  check(page.data !== undefined, "there is no page");
  names.push(...page.data.items.map((each) => each.username));
  after = page.data.next;
} while (after !== null);
check(names.includes("typescript"), "the user is not in the list");

const missing = await client.GET("/api/v1/users/{user_id}", {
  params: { path: { user_id: 4040404 } },
});
check(missing.error !== undefined, "a problem is an error");
const problem: Problem = missing.error;
check(problem.status === 404, "it is not 404");
check(problem.detail === "There is no user 4040404.", "the problem has no detail");
check(problem.request_id === missing.response.headers.get("X-Request-ID"), "no request id");

const invalid = await client.POST("/api/v1/users", { body: { ...body, email: "nobody" } });
check(invalid.error?.errors?.[0]?.field === "body.email", "the field is not named");
