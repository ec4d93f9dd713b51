"""What is known to be wrong and not mended yet: the one list of it.

`name of the check -> what is wrong`. A check that is in here may fail. One that holds again must go from
here, or the test fails: so the list can't grow old. Checks of the fuzz part are called
`fuzz: METHOD /path CODE`, with Schemathesis' code for the kind of failure.
"""

KNOWN: dict[str, str] = {}
