#!/bin/sh
# Nothing is started by an installation: the configuration comes first. Nothing is restarted by an upgrade: a fleet whose machines
# all upgrade in the same hour would lose its majority. The old program runs on, from the file that it has open, until somebody says.
set -e
[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload
if systemctl is-active --quiet qanat.service; then
  echo "qanat: the broker goes on with the program that it was started from. One broker after the other:" \
    "systemctl restart qanat && qanat cluster health --watch"
fi
