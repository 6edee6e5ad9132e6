#!/bin/bash
# Makes what run-in-vm boots, from Debian's own kernel package: vmlinux, kernel/ (the package with its modules) and
# initrd.gz, in $BRASSKEY_VM_DIR (target/vm of the repository unless set). Does nothing if they are there already.
#
# Needs: apt-get install --no-install-recommends qemu-system-x86 busybox-static kmod cpio python3
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=${BRASSKEY_VM_DIR:-$here/../../target/vm}
[ -e "$dir/complete" ] && exit
mkdir -p "$dir"
cd "$dir"

# The package is unpacked, not installed: the machine's own boot is none of our business. (The cloud kernel, a
# smaller package, has neither USB nor USB/IP.)
package=$(apt-cache depends linux-image-amd64 | awk '/Depends:/ { print $2; exit }')
[ -n "$package" ] || { echo "mkimage.sh: apt knows no linux-image-amd64; run apt-get update" >&2; exit 1; }
version=${package#linux-image-}
rm -rf kernel download
mkdir kernel download
(cd download && apt-get -qq -o APT::Sandbox::User=root download "$package")
dpkg -x download/*.deb kernel
rm -rf download
depmod -b kernel "$version"
python3 "$here/extract-vmlinux.py" "kernel/boot/vmlinuz-$version" vmlinux

# The initramfs: busybox, and the modules that mounting the host's files takes.
rm -rf initrd
mkdir -p initrd/{bin,proc,sys,dev,lower,rw,root,modules}
cp "$(command -v busybox)" initrd/bin/busybox
count=0
for file in $(modprobe -d "$PWD/kernel" -S "$version" --show-depends -a virtio_pci 9pnet_virtio 9p overlay \
    | awk '$1 == "insmod" && !seen[$2]++ { print $2 }'); do
  # The number keeps the order: a module comes after those that it needs.
  cp "$file" "initrd/modules/$(printf %02d "$count")-$(basename "$file")"
  count=$((count + 1))
done
cp "$here/initrd-init" initrd/init
chmod +x initrd/init
(cd initrd && find . | cpio -o -H newc --quiet | gzip -1) >initrd.gz
rm -rf initrd
echo "$version" >complete
