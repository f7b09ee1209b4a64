#!/bin/sh
# Unpacks Debian unstable's MySQL below a new directory, without root and whatever release of Debian
# this is: `tests/unpack_mysql.sh DIRECTORY`. The program is then DIRECTORY/usr/bin/mysqld; it runs on
# the libraries that came with it.
set -eu
mkdir -p "$1/apt/lists/partial" "$1/apt/archives/partial" "$1/packages"
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
needed=$(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks \
    --no-replaces --no-enhances mysql-server-core | grep '^lib' | sort -u)
# shellcheck disable=SC2086 # These are many names.
(cd packages && apt-get -qq download mysql-server-core $needed)
for package in packages/*.deb; do dpkg --extract "$package" .; done
libraries=$(find "$here/usr" -name 'lib*.so*' -exec dirname {} + | sort -u | paste -sd: -)
loader=$(find "$here/usr" -name 'ld-linux*.so.*' | head -n 1)
cat >usr/bin/mysqld <<END
#!/bin/sh
exec "$loader" --library-path "$libraries" "$here/usr/sbin/mysqld" "\$@"
END
chmod +x usr/bin/mysqld
rm -r apt packages
usr/bin/mysqld --version
