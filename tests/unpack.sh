#!/bin/sh
# Unpacks a server of Debian (unstable, or SUITE) below a new directory, without root and whatever release
# of Debian this is: `tests/unpack.sh PACKAGE DIRECTORY [SUITE]`. Its programs are then in
# DIRECTORY/usr/bin; they run on the libraries that came with them.
set -eu
package=$1
suite=${3:-sid}
mkdir -p "$2/apt/lists/partial" "$2/apt/archives/partial" "$2/packages"
cd "$2"
here=$(pwd)
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [signed-by=$keyring] http://deb.debian.org/debian $suite main" >apt/sources.list
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
    --no-replaces --no-enhances "$package" | grep '^lib' | sort -u)
# shellcheck disable=SC2086 # These are many names.
(cd packages && apt-get -qq download "$package" $needed)
for file in packages/*.deb; do dpkg --extract "$file" .; done
libraries=$(find "$here/usr" -name 'lib*.so*' -exec dirname {} + | sort -u | paste -sd: -)
loader=$(find "$here/usr" -name 'ld-linux*.so.*' | head -n 1)
mkdir -p usr/bin
for program in $(dpkg --contents packages/"$package"_*.deb | sed -n 's,.* \./usr/sbin/,,p'); do
    cat >"usr/bin/$program" <<END
#!/bin/sh
exec "$loader" --library-path "$libraries" "$here/usr/sbin/$program" "\$@"
END
    chmod +x "usr/bin/$program"
    "usr/bin/$program" --version
done
rm -r apt packages
