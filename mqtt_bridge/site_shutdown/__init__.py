"""A whole site is shut down in stages: guests by their tags, all others, then the nodes (docs/shutdown.md).

`wanted` reads what was asked for, `plan` says what that means now and what the rules leave out of it, `run` is how far
it has come (kept in the journal, so that it goes on after a restart of ours), `guests` and `nodes` are its two parts,
`course` goes through them, `service` has one of each site, `telling` makes events of it.

Each call goes the way of every other: `Actions.perform`, with a fresh read, the policy and a line in the audit file.
"""
