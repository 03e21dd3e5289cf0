#!/bin/sh
# run.sh CMAKE BUILD_DIR WORK_DIR LIBDIR VERSION - see CMakeLists.txt beside this file.
set -eu
cmake=$1 build=$2 work=$3 libdir=$4 version=$5
here=$(cd "$(dirname "$0")" && pwd)
say() { printf '== %s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

rm -rf "$work"
mkdir -p "$work"
say "install"
"$cmake" --install "$build" --prefix "$work/first" >"$work/install.log"
# Moved after the installation: nothing in the package may know the prefix.
mv "$work/first" "$work/prefix"
prefix=$work/prefix

say "exports: the shared library shows QUERN_API names and nothing else, the static one quern_*"
nm -D --defined-only "$prefix/$libdir/libquern.so" | awk '$2 ~ /[A-Z]/ {print $3}' >"$work/shared"
nm --defined-only "$prefix/$libdir/libquern.a" | awk '$2 ~ /^[A-TX-Z]$/ {print $3}' >"$work/static"
for list in shared static; do
    grep -q '^quern_device_create$' "$work/$list" || fail "$list library lacks quern_device_create"
    if grep -v '^quern_' "$work/$list"; then fail "$list library leaks the names above"; fi
done
soname=$(objdump -p "$prefix/$libdir/libquern.so" | awk '$1 == "SONAME" {print $2}')
[ "$soname" = "libquern.so.${version%.*}" ] || fail "soname is $soname"

say "find_package"
"$cmake" -G Ninja -S "$here/project" -B "$work/found" -DCMAKE_PREFIX_PATH="$prefix" \
    -DCMAKE_BUILD_TYPE=Release -DEXPECTED_VERSION="$version" >"$work/configure.log"
"$cmake" --build "$work/found" >"$work/build.log" || { cat "$work/build.log"; fail "build"; }
for program in c_shared c_static cxx_shared cxx_static; do
    "$work/found/$program" "$version" || fail "$program (find_package)"
done

say "pkg-config"
export PKG_CONFIG_PATH="$prefix/$libdir/pkgconfig"
flags=$(pkg-config --cflags quern)
libs=$(pkg-config --libs quern)
# The static library is asked for by its file name: a plain -lquern would take the shared one.
static=$(pkg-config --static --libs quern | sed 's/-lquern\b/-l:libquern.a/')
main=$here/project/main
warn="-Wall -Wextra -Wpedantic -Werror"
$CC -std=c11 $warn $flags "$main.c" -o "$work/pc_shared" $libs "-Wl,-rpath,$prefix/$libdir"
$CC -std=c11 $warn $flags "$main.c" -o "$work/pc_static" $static
$CXX -std=c++17 $warn $flags "$main.cc" -o "$work/pc_cxx" $libs "-Wl,-rpath,$prefix/$libdir"
for program in pc_shared pc_static pc_cxx; do
    "$work/$program" "$version" || fail "$program"
done
[ "$(pkg-config --modversion quern)" = "$version" ] || fail "quern.pc names another version"

if [ -x "$prefix/bin/quern" ]; then
    say "the installed command finds the installed library"
    "$prefix/bin/quern" devices || fail "quern devices"
fi
say "done"
