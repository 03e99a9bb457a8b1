#!/bin/bash
# Attaches the data volume where it is not, and mounts it. It is known by its serial number, whatever the kernel calls it. A volume on which there is anything at
# all is never formatted: what cannot be mounted is a matter for people.
set -euo pipefail
serial=$1 at=$2
mountpoint -q "$at" && exit 0
device=
look() {
  local link
  for link in /dev/disk/by-id/*"$serial"; do
    if [ -b "$link" ]; then device=$(readlink -f "$link") && return; fi
  done
  return 1
}
# The instance that had it before may still be on its way out: attach goes on until the volume is free.
look || timeout 600 /usr/local/lib/qanat/aws attach
for _ in $(seq 60); do
  look && break
  sleep 1
done
[ -n "$device" ] || { echo "volume $serial is not attached" >&2; exit 1; }

code=0
found=$(blkid -p -o value -s TYPE "$device") || code=$?
case $code in
0) ;;
2)
  # No signature that blkid knows; is there anything where file systems, partitions and databases begin and end?
  size=$(blockdev --getsize64 "$device")
  for from in 0 $((size - 4194304)); do
    if ! cmp -s -n 4194304 -i "$from:0" "$device" /dev/zero; then
      echo "volume $serial ($device) holds something that is no file system: it is neither formatted nor mounted" >&2
      exit 1
    fi
  done
  echo "volume $serial is empty: it gets a file system"
  mkfs.ext4 -q -m 0 -L qanat "$device"
  found=ext4
  ;;
*)
  echo "volume $serial ($device): what is on it is ambiguous (blkid: $code): it is neither formatted nor mounted" >&2
  exit 1
  ;;
esac
[ "$found" = ext4 ] || { echo "volume $serial ($device) holds ${found:-partitions}, and not ext4: it is not mounted" >&2; exit 1; }

mkdir -p "$at"
mount -o noatime "$device" "$at"
# A volume that has grown.
resize2fs "$device" 2> /dev/null || true
chown qanat:qanat "$at"
chmod 750 "$at"
