#!/usr/bin/env bash
# Puts AWS's event-ruler and Ruler.java, compiled, into the cache (TRIGGERLINE_CACHE), where an earlier run with the
# same two files hasn't; prints the class path. Wants mvn and javac, and installs a compiler where it may.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
hash=$(cat "$here/pom.xml" "$here/Ruler.java" | sha256sum | cut -c1-16)
cache=${TRIGGERLINE_CACHE:-$HOME/.cache/triggerline}
installed=$cache/ruler-$hash

fetch() {
    if ! command -v javac >/dev/null; then
        if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
            echo "javac is not installed. On Debian or Ubuntu: apt-get install openjdk-17-jdk-headless" >&2
            return 1
        fi
        DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends openjdk-17-jdk-headless >&2
    fi
    rm -rf "$installed"
    mkdir "$installed"
    cp "$here/pom.xml" "$installed/"
    (cd "$installed" && mvn -q --batch-mode --no-transfer-progress dependency:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory=lib >&2)
    javac -cp "$installed/lib/*" -d "$installed/classes" "$here/Ruler.java" >&2
    touch "$installed/ready"
}

if [ ! -f "$installed/ready" ]; then
    mkdir -p "$cache"
    # Two runs at once: the second waits, and finds it done. The lock ends with the subshell.
    (
        flock 9
        [ -f "$installed/ready" ] || fetch
    ) 9>"$cache/ruler.lock"
fi
echo "$installed/classes:$installed/lib/*"
