# Sourced by the tests that need other people's packages.

# install_once NAME INSTALL FILE…: sets `installed` to a folder in the cache (TRIGGERLINE_CACHE) in which the function
# INSTALL has put what the FILEs pin, in this run or in an earlier one with the same files. A run that was broken off
# leaves nothing that looks ready. Not to be called in a condition: `set -e` would not hold inside of it.
install_once() {
    local name=$1 install=$2 cache=${TRIGGERLINE_CACHE:-$HOME/.cache/triggerline} hash
    shift 2
    hash=$(cat "$@" | sha256sum | cut -c1-16)
    installed=$cache/$name-$hash
    [ ! -f "$installed/ready" ] || return 0
    mkdir -p "$cache"
    # Two runs at once: the second waits, and finds it done. The lock ends with the subshell.
    (
        set -E
        trap 'echo "FAILED: $name could not be installed into $installed" >&2' ERR
        flock 9
        [ ! -f "$installed/ready" ] || exit 0
        rm -rf "$installed"
        mkdir "$installed"
        "$install" "$installed"
        touch "$installed/ready"
    ) 9>"$cache/$name.lock"
    echo "$name: installed into $installed"
}

# The packages of the folder FROM, as its package-lock.json says, into the folder INTO.
npm_packages() {
    local from=$1 into=$2
    cp "$from/package.json" "$from/package-lock.json" "$into/"
    (cd "$into" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
}
