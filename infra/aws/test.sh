#!/usr/bin/env bash
# infra/aws: types checked, stacks synthesized by the CDK's own command (which holds them to CloudFormation's schemas),
# and the templates held to what they promise. Asks nothing of AWS: no account, no credentials, no look-ups.
#
# `cargo xtask test` runs this. By hand it wants Node 20 with npm. The packages are pinned in package-lock.json and
# installed once, into the cache (TRIGGERLINE_CACHE); node_modules leads there.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
world=$(mktemp -d -t triggerline-aws-XXXXXX)
trap 'rm -rf "$world"' EXIT
cd "$here"

. "$here/../../tests/clients/installed.sh"
install_packages() { npm_packages "$here" "$1"; }
install_once aws install_packages package.json package-lock.json
# A folder that npm made here by hand gives way to the link.
[ -L node_modules ] || rm -rf node_modules
ln -sfn "$installed/node_modules" node_modules

# Whoever runs this may have an account; it is none of ours.
unset "${!AWS_@}"
export AWS_EC2_METADATA_DISABLED=true AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null
export CDK_DISABLE_CLI_TELEMETRY=1 CDK_HOME=$world NO_COLOR=1

part() {
    local name=$1 begin=$SECONDS
    shift
    "$@"
    echo "$name: passed in $((SECONDS - begin)) s"
}

types() {
    rm -rf build
    node_modules/.bin/tsc
}

# Warnings count as errors. What nobody can guess is made up.
synth() {
    node_modules/.bin/cdk synth --strict --quiet --no-notices --no-lookups --output "$world/out" \
        -c certificateArn=arn:aws:acm:eu-central-1:111122223333:certificate/00000000-0000-0000-0000-000000000000 \
        -c imageTag=1.0.0 >"$world/synth.log" 2>&1 || {
        cat "$world/synth.log" >&2
        return 1
    }
}

tests() {
    TRIGGERLINE_SYNTHESIZED=$world/out node --test --test-reporter=dot build/test/*.test.js
}

part types types
part synth synth
part tests tests
