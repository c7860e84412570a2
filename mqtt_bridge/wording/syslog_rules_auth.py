# ruff: noqa: E501 -- one rule, one row
"""Logins: Proxmox's own (PVE::AccessControl, proxmox-backup-proxy), PAM, sshd, sudo, su, login."""

from mqtt_bridge.wording.syslog_row import Row, noise, row

AUTH: tuple[Row, ...] = (
    row("syslog.message", "cannot authenticate to server", r"server (?P<server>[^\s\[:]{1,200})", "The mail server {server} refuses our login", "warning", ok=False),
    row("auth.failed", "] Ban ", r"\[[\w-]{1,60}\] Ban (?P<rhost>\S{1,60})", "{rhost} is banned after failed logins"),
    row("auth.failed", "authentication failure;", r"rhost=\[?(?P<rhost>[^\s\]]*)\]?\S*\s+user=(?P<user>\S+)(?: msg=(?P<error>[^\n]*))?",
        "Login of {user} failed from {rhost}"),
    row("auth.failed", "authentication failure", r"(?:rhost=(?P<rhost>\S*))?", "A login failed"),
    row("auth.failed", "more authentication failure", "", "Logins failed"),
    row("auth.succeeded", "successful auth for user", r"successful auth for user '?(?P<user>[^'\s]+)", "{user} logged in"),
    row("auth.succeeded", "uthentication succe", r"uthentication succe(?:ssful|eded)[^\n]{0,40}?(?:user[:= ]{1,3}'?(?P<user>[^'\s),;]+))?", "{user} logged in"),
    row("auth.succeeded", "successful openid login", r"for user '?(?P<user>[^'\s]+)", "{user} logged in"),
    row("auth.failed", "Failed password for", r"Failed password for (?:invalid user )?(?P<user>.{0,100}?) from (?P<rhost>\S+)",
        "SSH login of {user} failed from {rhost}"),
    row("auth.failed", "Failed ", r"Failed (?:publickey|keyboard-interactive/pam|none|gssapi-with-mic|hostbased) for (?:invalid user )?"
        r"(?P<user>.{0,100}?) from (?P<rhost>\S+)", "SSH login of {user} failed from {rhost}"),
    row("auth.failed", "nvalid user", r"[Ii]nvalid user (?P<user>.{0,100}?) (?:from )?(?P<rhost>[0-9A-Fa-f.:]+)", "SSH login of unknown {user} from {rhost}"),
    row("auth.failed", "nvalid user", r"[Ii]nvalid user (?P<user>\S{0,100})", "SSH login of unknown {user}"),
    row("auth.failed", "authenticating user", r"authenticating user (?P<user>\S{0,100}) (?P<rhost>\S+)", "SSH login of {user} failed from {rhost}"),
    row("auth.failed", "maximum authentication attempts exceeded", r"for (?:invalid user )?(?P<user>.{0,100}?) from (?P<rhost>\S+)",
        "Too many SSH logins of {user} from {rhost}"),
    row("auth.failed", "oo many authentication failures", "", "Too many logins failed"),
    row("auth.failed", "PAM: ", r"PAM: (?:Authentication failure|User not known|User account has expired|Permission denied)[^\n]{0,60}"
        r"(?:for (?:illegal user )?(?P<user>\S+) from (?P<rhost>\S+))?", "Login of {user} failed from {rhost}"),
    row("auth.failed", "not allowed because", r"User (?P<user>\S+) from (?P<rhost>\S+) not allowed", "SSH login of {user} from {rhost} is not allowed"),
    row("auth.failed", "Refused user", r"Refused user (?P<user>\S{1,100}) for service", "Login of {user} is not allowed"),
    row("auth.failed", "check pass; user unknown", "", "Login of an unknown user"),
    row("auth.failed", "FAILED LOGIN", r"FAILED LOGIN[^\n]{0,80}?FOR '?(?P<user>[^',]+)", "Console login of {user} failed"),
    row("auth.failed", "FAILED SU", r"FAILED SU[^\n]{0,20}\(to (?P<user>[^)]+)\)", "su to {user} failed"),
    row("auth.failed", "incorrect password attempt", r"^\s*(?P<user>\S+) :", "sudo of {user}: wrong password"),
    row("auth.failed", "NOT in sudoers", r"^\s*(?P<user>\S+) :", "sudo of {user} is not allowed"),
    row("auth.failed", "command not allowed", r"^\s*(?P<user>\S+) :", "sudo of {user} is not allowed"),
    row("auth.failed", "authentication failed", r"(?:SASL|authentication failed - |login|user)", "A login failed"),
    row("auth.failed", "401 Unauthorized", r"permission check failed|invalid (?:ticket|credentials|token)|no authentication", "A request without a valid login"),
    row("auth.failed", "nvalid token", r"invalid token (?:value|name)|no such token", "A request with a wrong API token"),
    row("auth.failed", "uthentication verification error", "", "A login failed"),
    row("auth.failed", "invalid PVE ticket", "", "A request with a wrong ticket"),
    row("auth.succeeded", "Accepted ", r"Accepted (?P<method>publickey|password|\S+)(?: for (?P<user>\S+) from (?P<rhost>\S+)|$)", "{user} logged in by SSH from {rhost}"),
    row("auth.succeeded", "ROOT LOGIN", "", "root logged in"),
    row("auth.succeeded", "LOGIN ON", r"LOGIN ON \S+ BY (?P<user>\S+)", "{user} logged in"),
)  # fmt: skip
CHATTER: tuple[Row, ...] = noise(
    "session opened for user", "session closed for user", "Received disconnect from", "Disconnected from", "Connection closed by",
    "Connection reset by", "COMMAND=", "Server listening on", "Did not receive identification", "Unable to negotiate",
    "kex_exchange_identification", "banner exchange", "Received signal 15", "Connection from", "Starting session", "(to ",
    "pam_env", "Postponed publickey", "Close session", "Transferred:", "Exiting on signal",
)  # fmt: skip
