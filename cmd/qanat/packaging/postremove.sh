#!/bin/sh
# Data and user stay, as after the removal of any database; `purge` takes the configuration, never the data.
set -e
[ ! -d /run/systemd/system ] || systemctl daemon-reload
