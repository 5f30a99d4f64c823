# shellcheck shell=bash
# A small disk for each node's /var/lib/raftbank: ext4 on a loop device, so that it can be full, read-only, gone, or lose
# all that was not synced. Sourced by `run`.

DISKS=$TARGET/systemd/disks
DISK_MB=512

# Where a host's disk is to be seen from here.
disk() { echo "$DISKS/$1"; }
disk_make() {
  local at; at=$(disk "$1")
  mkdir -p "$at"
  rm -f "$at.img"
  truncate -s ${DISK_MB}M "$at.img"
  mkfs.ext4 -q -F "$at.img" && disk_mount "$1"
}
disk_mount() { mount -o loop "$(disk "$1").img" "$(disk "$1")"; }
disk_unmount() {
  local at; at=$(disk "$1")
  for _ in $(seq 50); do
    umount "$at" 2>/dev/null && return 0
    mountpoint -q "$at" || return 0
    sleep 0.1
  done
  umount "$at"
}
disks_away() {
  local at
  for at in "$DISKS"/*/; do
    [ -d "$at" ] || continue
    ! mountpoint -q "$at" || disk_unmount "$(basename "$at")"
    rm -rf "${at%/}" "${at%/}.img"
  done
}
# The file system takes nothing any more and forgets what it has not written: EXT4_IOC_SHUTDOWN without a flush of its log.
disk_power_off() {
  python3 -c 'import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack("I", 2))' "$(disk "$1")"
}
# A file that leaves nothing free, not even for root.
disk_fill() {
  local at; at=$(disk "$1")
  dd if=/dev/zero of="$at/filler" bs=1M 2>/dev/null
  dd if=/dev/zero of="$at/filler2" bs=4k 2>/dev/null
  [ "$(df --output=avail "$at" | tail -n 1)" -lt 64 ]
}
disk_empty() { rm -f "$(disk "$1")"/filler*; }
