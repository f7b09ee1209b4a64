#!/bin/sh
# Unpacks Debian unstable's Docker Compose below a new directory, without root and whatever release of
# Debian this is: `tests/unpack_compose.sh DIRECTORY`. The program, which checks files without an engine,
# is then DIRECTORY/docker-compose.
set -eu
mkdir -p "$1/apt/lists/partial" "$1/apt/archives/partial"
cd "$1"
here=$(pwd)
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [signed-by=$keyring] http://deb.debian.org/debian sid main" >apt/sources.list
cat >apt/options <<END
Dir::Etc::SourceList "$here/apt/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::State::Lists "$here/apt/lists";
Dir::Cache "$here/apt";
APT::Sandbox::User "";
END
export APT_CONFIG="$here/apt/options"
apt-get -qq update
apt-get -qq download docker-compose
for package in docker-compose_*.deb; do dpkg --extract "$package" unpacked; done
mv unpacked/usr/libexec/docker/cli-plugins/docker-compose docker-compose
rm -r apt unpacked docker-compose_*.deb
./docker-compose version
