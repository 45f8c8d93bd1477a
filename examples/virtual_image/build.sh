#!/bin/sh
# Makes a small virtual image: Debian's cloud kernel, a static busybox, an init script. Needs apt-get, dpkg and busybox
# (Debian's busybox-static), not root. Usage: build.sh FOLDER; then FOLDER holds image.vm.json, vmlinuz, initrd.img.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:?usage: build.sh FOLDER}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
kernel=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends:/ {print $2; exit}')
(cd "$work" && apt-get -q download "$kernel" >&2)
dpkg -x "$work"/linux-image-*.deb "$work/kernel"
mkdir -p "$work/root/bin" "$work/root/lib" "$work/root/proc" "$work/root/sys" "$work/root/dev" "$work/root/tmp"
cp "$(command -v busybox)" "$work/root/bin/busybox"
for module in virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk; do
  cp "$(find "$work/kernel" -name $module.ko)" "$work/root/lib/"
done
cp "$here/init" "$work/root/init"
chmod 755 "$work/root/init"
# The same bytes every time: names in order, no times, no owners.
find "$work/root" -exec touch -h -d @0 {} +
(cd "$work/root" && find . | LC_ALL=C sort | busybox cpio -o -H newc -R 0:0 --ignore-devno --renumber-inodes 2>/dev/null | gzip -9n) > "$folder/initrd.img"
cp "$work"/kernel/boot/vmlinuz-* "$folder/vmlinuz"
printf '%s\n' '{"fairgrid": "vm/1", "kernel": "vmlinuz", "initrd": "initrd.img"}' > "$folder/image.vm.json"
