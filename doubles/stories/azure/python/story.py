"""The story of a secret, told to a double of Azure Key Vault by Microsoft's SDK for Python.

It prints what it saw, and `doubles/stories/azure/expected.txt` says what it has to see. The only argument is the file
`double.json` that the double writes.
"""

import json
import os
import sys
import time
import urllib.request
from datetime import datetime, timezone

from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.identity import (
    CertificateCredential,
    ClientSecretCredential,
    ManagedIdentityCredential,
    WorkloadIdentityCredential,
)
from azure.keyvault.secrets import SecretClient

DOUBLE = json.load(open(sys.argv[1], encoding="utf-8"))
TENANT = DOUBLE["tenant_id"]
PRINCIPALS = DOUBLE["principals"]
ALL = PRINCIPALS["all"]
# The double is no host that the SDK knows, and its authority signs with a key of its own.
TRUST = {"connection_verify": DOUBLE["ca"]}
SIGN_IN = {"authority": DOUBLE["authority"], "disable_instance_discovery": True, **TRUST}

NAME = "story-one"
FIRST, SECOND, THIRD = ("kfcanary-storyvalue%d" % number for number in (1, 2, 3))
BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)
END = datetime(2036, 1, 1, tzinfo=timezone.utc)
LATER = datetime(2037, 1, 1, tzinfo=timezone.utc)


def say(what, *found):
    print("%s: %s" % (what, " ".join(str(part) for part in found)))


def text(value):
    """As the story in every language writes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d")
    if isinstance(value, dict):
        return ",".join("%s=%s" % pair for pair in sorted(value.items()))
    return value


def failure(action):
    """The error of an answer: status, code, inner code."""
    try:
        action()
    except HttpResponseError as error:
        inner = error.error.innererror or {}
        return " ".join(str(part) for part in (error.status_code, error.error.code, inner.get("code")) if part)
    return "no error"


def client(credential):
    return SecretClient(DOUBLE["vault_url"], credential, verify_challenge_resource=False, **TRUST)


def with_secret(principal):
    return ClientSecretCredential(TENANT, principal["client_id"], principal["client_secret"], **SIGN_IN)


def control(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request("%s/%s" % (DOUBLE["control_url"], path), data, method=method)
    with urllib.request.urlopen(request) as response:
        return json.loads(response.read() or b"null")


def until(action):
    """Tries again while there is no such secret, or a conflict: for what takes a while."""
    for _ in range(100):
        try:
            return action()
        except HttpResponseError as error:
            if error.status_code not in (404, 409):
                raise
        time.sleep(0.05)
    raise SystemExit("it takes too long")


def properties(secret):
    return [
        text(part)
        for part in (
            secret.name,
            secret.content_type,
            secret.tags,
            secret.enabled,
            secret.not_before,
            secret.expires_on,
            secret.recovery_level.value,
            secret.recoverable_days,
        )
    ]


def versions(vault):
    one = vault.set_secret(
        NAME, FIRST, content_type="text/plain", tags={"a": "1", "b": "2"}, not_before=BEGIN, expires_on=END
    )
    say("created", *properties(one.properties))
    say("version", text(len(one.properties.version) == 32), text(one.id.startswith(DOUBLE["vault_url"] + "/secrets/")))
    say("read", text(vault.get_secret(NAME).value == FIRST))
    vault.set_secret(NAME, SECOND)
    say("current", text(vault.get_secret(NAME).value == SECOND))
    old = vault.get_secret(NAME, one.properties.version)
    say("first version", text(old.value == FIRST), text(old.properties.tags))
    say("in capitals", vault.get_secret(NAME.upper()).name)
    say("versions", len(list(vault.list_properties_of_secret_versions(NAME))))
    say("empty value", text(vault.set_secret("story-empty", "").value == ""))


def pages(vault):
    for number in range(30):
        vault.set_secret("page-%02d" % number, "kfcanary-storypage")
    found = [list(page) for page in vault.list_properties_of_secrets().by_page()]
    say("pages", *(len(page) for page in found))
    everything = [secret for page in found for secret in page]
    say("first and last", everything[0].name, everything[-1].name)
    say("managed", *(secret.name for secret in everything if secret.managed))
    short = vault.list_properties_of_secrets(max_page_size=10).by_page()
    say("pages of ten", *(len(list(page)) for page in short))


def updates(vault):
    updated = vault.update_secret_properties(
        NAME, content_type="text/html", tags={"c": "3"}, not_before=BEGIN, expires_on=LATER
    )
    say("updated", *properties(updated))
    vault.update_secret_properties(NAME, enabled=False)
    say("disabled", failure(lambda: vault.get_secret(NAME)))
    enabled = vault.update_secret_properties(NAME, enabled=True)
    say("enabled", *properties(enabled))
    say("read again", text(vault.get_secret(NAME).value == SECOND))


def deletion(vault):
    vault.begin_delete_secret(NAME, _polling_interval=0.05)
    say("gone", failure(lambda: vault.get_secret(NAME)))
    say("put while it is deleted", failure(lambda: vault.set_secret(NAME, THIRD)))
    deleted = until(lambda: vault.get_deleted_secret(NAME))
    kept = deleted.scheduled_purge_date - deleted.deleted_date
    say("deleted", deleted.name, deleted.recovery_id.rsplit("/", 2)[1], kept.days)
    say("put when it is deleted", failure(lambda: vault.set_secret(NAME, THIRD)))
    say("listed as deleted", *(secret.name for secret in vault.list_deleted_secrets()))
    vault.begin_recover_deleted_secret(NAME, _polling_interval=0.05).wait()
    say("recovered", text(vault.get_secret(NAME).value == SECOND))
    vault.begin_delete_secret(NAME, _polling_interval=0.05).wait()
    vault.purge_deleted_secret(NAME)
    say("put while it is purged", failure(lambda: vault.set_secret(NAME, THIRD)))
    until(lambda: vault.set_secret(NAME, THIRD))
    say("versions after the purge", len(list(vault.list_properties_of_secret_versions(NAME))))


def errors(vault):
    say("no such secret", failure(lambda: vault.get_secret("story-none")))
    say("no such version", failure(lambda: vault.get_secret(NAME, "0" * 32)))
    say("invalid name", failure(lambda: vault.get_secret("a_b")))
    say("value too large", failure(lambda: vault.set_secret(NAME, "v" * 25_601)))
    tags = {str(number): "" for number in range(16)}
    say("too many tags", failure(lambda: vault.set_secret(NAME, THIRD, tags=tags)))
    say("managed", failure(lambda: vault.begin_delete_secret(DOUBLE["managed_secret"])))
    say("backup", failure(lambda: vault.backup_secret(NAME)))


def permissions():
    for role in ("all", "read-only", "get-only", "list-only", "nothing"):
        vault = client(with_secret(PRINCIPALS[role]))
        say(
            role,
            "get:",
            failure(lambda: vault.get_secret(NAME)),
            "list:",
            failure(lambda: list(vault.list_properties_of_secrets())),
            "set:",
            failure(lambda: vault.set_secret("story-role", THIRD)),
        )


def throttling(vault):
    before = control("GET", "counts").get("get", 0)
    control("POST", "faults", {"route": "get", "status": 429, "count": 2, "retry_after": 1})
    start = time.monotonic()
    read = vault.get_secret(NAME).value == THIRD
    waited = time.monotonic() - start >= 2
    say("throttled twice", text(read), text(waited), control("GET", "counts")["get"] - before)
    control("POST", "faults", {"route": "set", "status": 503})
    say("unavailable once", text(vault.set_secret("story-again", THIRD).value == THIRD))


def credentials():
    def reads(what, credential):
        say(what, text(client(credential).get_secret(NAME).value == THIRD))

    client_id = ALL["client_id"]
    reads("certificate", CertificateCredential(TENANT, client_id, DOUBLE["certificate"], **SIGN_IN))
    federated = DOUBLE["federated_token"]
    workload = WorkloadIdentityCredential(tenant_id=TENANT, client_id=client_id, token_file_path=federated, **SIGN_IN)
    reads("workload identity", workload)
    os.environ["AZURE_POD_IDENTITY_AUTHORITY_HOST"] = DOUBLE["imds_url"]
    reads("managed identity of the machine", ManagedIdentityCredential())
    reads("managed identity by client id", ManagedIdentityCredential(client_id=PRINCIPALS["get-only"]["client_id"]))
    os.environ["IDENTITY_ENDPOINT"] = DOUBLE["app_service_url"]
    os.environ["IDENTITY_HEADER"] = DOUBLE["app_service_header"]
    reads("managed identity of App Service", ManagedIdentityCredential())
    for what, principal in (
        ("wrong secret", {**ALL, "client_secret": "wrong"}),
        ("unknown application", {**ALL, "client_id": "00000000-0000-0000-0000-000000000000"}),
    ):
        try:
            with_secret(principal).get_token("https://vault.azure.net/.default")
        except ClientAuthenticationError as error:
            code = error.message[error.message.index("AADSTS") :]
            say(what, code.split(":")[0])


def main():
    vault = client(with_secret(ALL))
    versions(vault)
    pages(vault)
    updates(vault)
    deletion(vault)
    errors(vault)
    permissions()
    throttling(vault)
    credentials()


main()
