#!/bin/sh
# Makes align.elf, a static executable. Needs a C compiler with a static C library (Debian: gcc, libc6-dev).
# Usage: build.sh FOLDER
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:?usage: build.sh FOLDER}
mkdir -p "$folder"
# The same bytes every time with one compiler: no build number in the file, no folder of this machine.
(cd "$here" && ${CC:-cc} -O2 -static -Wl,--build-id=none -o "$folder/align.elf" align.c)
