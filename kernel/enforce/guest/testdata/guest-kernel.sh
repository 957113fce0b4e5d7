#!/bin/sh
# guest-kernel.sh FOLDER: puts Debian's cloud kernel 6.1 as FOLDER/vmlinuz, with the modules that the guest loads in FOLDER/modules, where they
# are not yet. Needs apt-get and dpkg-deb; asks Debian's archive only.
set -eu
dir=$1
[ -s "$dir/vmlinuz" ] && exit 0
package=$(apt-cache search --names-only '^linux-image-6\.1\.0-[0-9]+-cloud-amd64$' | cut -d' ' -f1 | sort -V | tail -n 1)
if [ -z "$package" ]; then
	apt-get update -qq
	package=$(apt-cache search --names-only '^linux-image-6\.1\.0-[0-9]+-cloud-amd64$' | cut -d' ' -f1 | sort -V | tail -n 1)
fi
[ -n "$package" ] || { echo "the archive has no linux-image-6.1.0-*-cloud-amd64" >&2; exit 1; }
work=$(mktemp -d "$dir/XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download -qq "$package" >/dev/null 2>&1
dpkg-deb -x ./*.deb tree
mkdir -p "$dir/modules"
for name in overlay; do
	find tree -name "$name.ko*" -exec cp {} "$dir/modules/" \;
done
mv tree/boot/vmlinuz-* "$dir/vmlinuz"
