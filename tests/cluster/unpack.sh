#!/bin/sh
# Unpacks Debian's HAProxy and etcd below a new directory, without root: `unpack.sh DIRECTORY`. The
# programs are then DIRECTORY/bin/haproxy and DIRECTORY/bin/etcd.
set -eu
mkdir -p "$1/packages" "$1/bin"
cd "$1"
here=$(pwd)
wanted="haproxy etcd-server"
libraries=$(apt-cache depends --recurse --important --no-pre-depends haproxy |
    grep -E '^lib(lua5|opentracing)' | sort -u)
# shellcheck disable=SC2086 # These are several names.
(cd packages && apt-get -qq download $wanted $libraries)
for package in packages/*.deb; do dpkg --extract "$package" .; done
rm -r packages
libraries=$(find "$here/usr" -name 'lib*.so*' -exec dirname {} + | sort -u | paste -sd: -)
cat >bin/haproxy <<END
#!/bin/sh
LD_LIBRARY_PATH="$libraries" exec "$here/usr/sbin/haproxy" "\$@"
END
ln -s ../usr/bin/etcd bin/etcd
chmod -R a+rX .
chmod a+x bin/haproxy
bin/haproxy -v
bin/etcd --version
