"""The OpenAPI document: the one that is checked in is the one that is served, and Redocly's rules hold.

Warnings count as well: what doesn't apply is turned off in redocly.yaml, with its reason.
"""

import json
import os
import subprocess
from pathlib import Path

import said
from said import ask, equal, true

here = Path(__file__).parent
checked_in = here.parent.parent / "docs/openapi.json"
served = Path("served.json")


def differences(one, other, at=""):
    if isinstance(one, dict) and isinstance(other, dict):
        for name in sorted(one.keys() | other.keys()):
            yield from differences(one.get(name), other.get(name), f"{at}/{name}")
    elif one != other:
        yield f"\n  {at}\n    checked in: {str(one)[:100]}\n    served:     {str(other)[:100]}"


def lint(document):
    """What Redocly has against it: `rule at place`."""
    command = [os.environ["TL_REDOCLY"], "lint", f"--config={here / 'redocly.yaml'}", "--format=json", "--max-problems=1000"]
    # Its notices (the age of Node, say) go to standard error.
    ran = subprocess.run([*command, str(document)], capture_output=True, text=True, check=False)
    try:
        problems = json.loads(ran.stdout)["problems"]
    except (ValueError, KeyError):
        raise SystemExit(f"FAILED: redocly lint {document}\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}") from None
    found = {}
    for problem in problems:
        place = problem["location"][0].get("pointer", "")
        found[f"{problem['ruleId']} at {place}"] = f"{problem['severity']}: {problem['message']}"
    true(f"redocly ends as it tells: {ran.stderr[-500:]}", ran.returncode == 0 or found, ran.returncode)
    return found


def main():
    answer = ask(said.session(key=None), "GET", "/openapi.json")
    equal("status of /openapi.json", answer.status_code, 200)
    equal("its content type", answer.headers["Content-Type"], "application/json")
    served.write_bytes(answer.content)
    told = "".join(list(differences(json.loads(checked_in.read_text(encoding="utf-8")), answer.json()))[:10])
    true(f"what is served is docs/openapi.json; but:{told}", not told)
    found = lint(checked_in)
    equal("what Redocly finds in the served document", lint(served), found)
    for place, message in found.items():
        said.unless_known(f"lint: {place}", lambda: true(f"Redocly has nothing against it: {place}", False, message))
    for name in said.KNOWN:
        if name.startswith("lint: "):
            true(f"{name} is not found any more: it must go from tests/clients/known.py", name[6:] in found, sorted(found))
    print(f"lint: docs/openapi.json is what is served; Redocly's recommended rules: {len(found)} known findings")


main()
