"""Schemathesis makes cases of the served document, good ones and bad, and holds each answer to it.

This starts it and judges its report; fuzz_hooks.py keeps it from revoking its own key and gives it
things that exist. The seed is fixed, so the cases are nearly the same each time; not wholly, because
what the stateful phase does next follows from the answers.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import said
from known import KNOWN
from said import equal, true

SEED = 20261123
CASES_MIN = 2_000
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "ignored_auth",
)

here = Path(__file__).parent
report, seen = Path("fuzz.json"), Path("fuzz-seen.json")
environment = {
    **os.environ,
    "SCHEMATHESIS_HOOKS": "fuzz_hooks",
    "PYTHONPATH": str(here),
    "TL_SEEN": str(seen.absolute()),
}
command = [
    f"{Path(sys.executable).parent}/schemathesis",
    f"--config-file={here / 'schemathesis.toml'}",
    "run",
    f"http://{said.HTTP}/openapi.json",
    f"--header=Authorization: Bearer {said.KEY}",
    *(f"--header={name}: {value}" for name, value in said.PER_REQUEST.items()),
    f"--seed={SEED}",
    f"--checks={','.join(CHECKS)}",
    "--report=json",
    f"--report-json-path={report}",
]
with open("fuzz.out", "w", encoding="utf-8") as out:
    ended = subprocess.run(command, env=environment, stdout=out, stderr=subprocess.STDOUT, check=False)
text = Path("fuzz.out").read_text(encoding="utf-8")
if not report.exists():
    print(text[-8000:], file=sys.stderr)
    raise SystemExit(f"FAILED: schemathesis ended with {ended.returncode} and wrote no report")

found = json.loads(report.read_text(encoding="utf-8"))
failures = {f"fuzz: {operation} {one['code']}" for one in found["failures"] for operation in one["operations"]}
known = {name for name in KNOWN if name.startswith("fuzz: ") and "/" in name}
if failures - known or found["errors"] or (ended.returncode and not failures):
    start = min((at for at in map(text.find, ("= ERRORS", "= FAILURES")) if at >= 0), default=0)
    print("\n".join(line[:600] for line in text[start:].splitlines()[:400]), file=sys.stderr)
    raise SystemExit(f"FAILED: schemathesis found {sorted(failures - known)}, errors {found['errors']}")
equal("entries of tests/clients/known.py that are not found any more", sorted(known - failures), [])
for name in sorted(known):
    print(f"known: {name}: {KNOWN[name]}")
cases = found["test_cases"]["generated"]
true(f"at least {CASES_MIN} cases", cases >= CASES_MIN, cases)
phases = {name: phase["status"] for name, phase in found["phases"].items()}
true("the stateful phase ran", phases.get("stateful") in ("success", "failure"), phases)

# A run in which nothing ever succeeds finds nothing: each operation has answered 2xx, and each that
# takes something, 4xx.
document = said.ask(said.session(), "GET", "/openapi.json").json()
takes_something = {
    operation["operationId"]
    for item in document["paths"].values()
    for operation in item.values()
    if operation.get("parameters") or operation.get("requestBody")
}
statuses = json.loads(seen.read_text(encoding="utf-8"))
true("every operation was asked", len(statuses) == found["operations"]["total"], sorted(statuses))
for kind in "24":
    expected = statuses.keys() if kind == "2" else takes_something
    never = sorted(one for one in expected if not any(status[0] == kind for status in statuses[one]))
    for one in never:
        said.unless_known(f"fuzz: {kind}xx of {one}", lambda: true(f"{one} answers {kind}xx now and then", False, statuses[one]))
total = sum(sum(counts.values()) for counts in statuses.values())
good = sum(n for counts in statuses.values() for status, n in counts.items() if status[0] == "2")
print(
    f"fuzz: {cases} cases, {total} requests ({good} of them answered 2xx) to {len(statuses)} operations"
    f" by Schemathesis, seed {SEED}: {len(CHECKS)} checks, {len(known)} known failures"
)
