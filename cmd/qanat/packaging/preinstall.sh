#!/bin/sh
# The user that the broker runs as. It stays when the package goes: its data do.
set -e
getent group qanat > /dev/null || groupadd --system qanat
getent passwd qanat > /dev/null || useradd --system --gid qanat --home-dir /var/lib/qanat --no-create-home --shell /usr/sbin/nologin qanat
