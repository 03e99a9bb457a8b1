#!/bin/sh
# A removal stops the broker; an upgrade does not (deb says "upgrade", rpm how many will be left).
set -e
[ -d /run/systemd/system ] || exit 0
case "$1" in
remove | 0) systemctl disable --now qanat.service ;;
esac
