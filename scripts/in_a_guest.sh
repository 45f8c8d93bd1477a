#!/bin/sh
# Runs a bash script in a virtual machine with Debian's kernel and cgroups v2, on this machine's files, which it sees
# read-only, in the same working folder; what it writes is gone with it. For code that the kernel of this machine cannot run. Emulated, so about ten
# times slower. Usage: in_a_guest.sh SCRIPT [MEMORY, such as 4G]. Needs root, apt-get, dpkg, a static busybox,
# qemu-system-x86_64 and virtiofsd (Debian: /usr/lib/qemu/virtiofsd or /usr/libexec/virtiofsd).
set -eu
script=$(cd "$(dirname "${1:?usage: in_a_guest.sh SCRIPT [MEMORY]}")" && pwd)/$(basename "$1")
memory=${2:-4G}
here=$(pwd)
daemon=
for place in /usr/lib/qemu/virtiofsd /usr/libexec/virtiofsd; do
  [ -x $place ] && daemon=$place
done
[ -n "$daemon" ] || { echo "virtiofsd is missing (Debian: apt install qemu-system-common)" >&2; exit 1; }
work=$(mktemp -d)
pid=
trap 'kill $pid 2>/dev/null; rm -rf "$work"' EXIT
kernel=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends:/ {print $2; exit}')
(cd "$work" && apt-get -q download "$kernel" >/dev/null 2>&1)
dpkg -x "$work"/linux-image-*.deb "$work/kernel"
modules="virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci fuse virtiofs overlay tun"
mkdir -p "$work/root/bin" "$work/root/lib" "$work/root/proc" "$work/root/sys" "$work/root/dev" "$work/root/host" "$work/root/mem"
cp "$(command -v busybox)" "$work/root/bin/busybox"
for module in $modules; do
  cp "$(find "$work/kernel" -name $module.ko)" "$work/root/lib/"
done
cp "$script" "$work/root/script"
cat >"$work/root/init" <<INIT
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in $modules; do insmod /lib/\$module.ko; done
mount -t virtiofs -o ro host /host
mount -t tmpfs -o size=90% mem /mem
mkdir /mem/up /mem/work /mem/root
mount -t overlay -o lowerdir=/host,upperdir=/mem/up,workdir=/mem/work overlay /mem/root
cd /mem/root
mount -t proc proc proc
mount -t sysfs sys sys
mount -t devtmpfs dev dev
mkdir -p dev/shm dev/pts
mount -t tmpfs -o mode=1777 shm dev/shm
mount -t devpts pts dev/pts
mount -t tmpfs -o mode=1777 tmp var/tmp
mount -t tmpfs run run
mount -t cgroup2 cgroup sys/fs/cgroup
ip link set lo up
cp /script /mem/root/var/tmp/script
cp /bin/busybox /mem/root/var/tmp/busybox
cat >/mem/root/var/tmp/init <<END
#!/bin/bash
cd "$here" && /usr/bin/env -i PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin HOME=/root LANG=C.UTF-8 TMPDIR=/var/tmp \\
  /bin/bash /var/tmp/script </dev/null
echo "the script ended with status \\\$?"
/var/tmp/busybox reboot -f
END
chmod 755 /mem/root/var/tmp/init
# Not chroot: the kernel makes no user namespaces in one.
exec switch_root /mem/root /var/tmp/init
INIT
chmod 755 "$work/root/init"
(cd "$work/root" && find . | busybox cpio -o -H newc 2>/dev/null | gzip -1) >"$work/initrd.img"
"$daemon" --socket-path="$work/socket" -o source=/ -o cache=always -o sandbox=chroot -o no_posix_lock --rlimit-nofile=0 >"$work/log" 2>&1 &
pid=$!
tries=0
while [ ! -S "$work/socket" ]; do
  tries=$((tries + 1))
  [ $tries -lt 100 ] && kill -0 $pid 2>/dev/null || { cat "$work/log" >&2; exit 1; }
  sleep 0.1
done
qemu-system-x86_64 -M q35 -accel tcg,thread=multi -cpu max -smp 2 -m "$memory" \
  -object "memory-backend-memfd,id=memory,size=$memory,share=on" -numa node,memdev=memory \
  -nodefaults -no-user-config -nographic -no-reboot -serial stdio \
  -chardev "socket,id=files,path=$work/socket" -device vhost-user-fs-pci,chardev=files,tag=host \
  -kernel "$(ls "$work"/kernel/boot/vmlinuz-*)" -initrd "$work/initrd.img" \
  -append "console=ttyS0 panic=-1 reboot=t quiet mitigations=off random.trust_cpu=on no_timer_check" </dev/null | tee "$work/said"
grep -q "the script ended with status 0" "$work/said"
