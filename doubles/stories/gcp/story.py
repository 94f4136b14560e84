"""The life of secrets, told to a double of Google Cloud Secret Manager by Google's own client for Python.

The only argument is the file `double.json` that the double writes. It prints a line for each part that went as Google
documents it, and fails at the first that does not.
"""

import contextlib
import datetime
import json
import os
import sys
import uuid

import google.auth
import google.auth.credentials
import google.auth.transport.requests
import google_crc32c as crc32c
import requests
from google.api_core import exceptions, retry
from google.cloud import secretmanager_v1 as sm
from google.cloud.secretmanager_v1.services.secret_manager_service.transports import (
    SecretManagerServiceRestTransport as Transport,
)
from google.iam.v1 import iam_policy_pb2
from google.oauth2 import credentials as oauth
from google.protobuf import field_mask_pb2

with open(sys.argv[1], encoding="utf-8") as file:
    DOUBLE = json.load(file)
URL = DOUBLE["url"]
PROJECT = "projects/" + DOUBLE["project"]
NUMBER = "projects/" + DOUBLE["projectNumber"]
PREFIX = "story-" + uuid.uuid4().hex[:8] + "-"
VALUE = b"kfcanary-storyvalue1\x00\xff\n"
AUTOMATIC = sm.Replication(automatic=sm.Replication.Automatic())
State = sm.SecretVersion.State


def client(credentials):
    host = URL.split("://")[1]
    return sm.SecretManagerServiceClient(transport=Transport(host=host, credentials=credentials, url_scheme="http"))


class Token(google.auth.credentials.Credentials):
    """A token and no way to another one."""

    def __init__(self, token):
        super().__init__()
        self.token = token

    def refresh(self, request):
        pass


def of(token):
    return client(Token(DOUBLE["tokens"][token]))


@contextlib.contextmanager
def refused(status, reason=None):
    """Expects this error, with this reason of `google.rpc.ErrorInfo`."""
    try:
        yield
    except exceptions.GoogleAPICallError as came:
        # Over REST the SDK tells errors apart by the status of HTTP only.
        error = came.response.json()["error"]
        assert (error["status"], error["code"]) == (status, came.code), came
        assert reason is None or came.reason == reason, came.reason
        return
    raise AssertionError("%s did not come" % status)


def fault(**plan):
    requests.post(URL + "/_double/faults", json=dict(plan, resource=PREFIX), timeout=10).raise_for_status()


def told(part):
    print(part, flush=True)


ADMIN = of("admin")


def create(name, parent=PROJECT, **fields):
    if "/locations/" not in parent:
        fields.setdefault("replication", AUTOMATIC)
    return ADMIN.create_secret(parent=parent, secret_id=PREFIX + name, secret=sm.Secret(**fields))


def values():
    secret = create("values")
    assert secret.name == NUMBER + "/secrets/" + PREFIX + "values", secret.name
    assert secret.replication.automatic is not None and secret.etag.startswith('"')
    payload = sm.SecretPayload(data=VALUE, data_crc32c=crc32c.value(VALUE))
    version = ADMIN.add_secret_version(parent=secret.name, payload=payload)
    assert version.name == secret.name + "/versions/1" and version.state == State.ENABLED
    assert version.client_specified_payload_checksum
    answer = ADMIN.access_secret_version(name=PROJECT + "/secrets/" + PREFIX + "values/versions/latest")
    assert answer.name == version.name and answer.payload.data == VALUE
    assert answer.payload.data_crc32c == crc32c.value(VALUE)
    wrong = sm.SecretPayload(data=VALUE, data_crc32c=crc32c.value(VALUE) ^ 1)
    with refused("INVALID_ARGUMENT"):
        ADMIN.add_secret_version(parent=secret.name, payload=wrong)
    for data in (b"", b"a" * 65537):
        with refused("INVALID_ARGUMENT"):
            ADMIN.add_secret_version(parent=secret.name, payload=sm.SecretPayload(data=data))
    ADMIN.add_secret_version(parent=secret.name, payload=sm.SecretPayload(data=b"a" * 65536))
    with refused("ALREADY_EXISTS"):
        create("values")
    with refused("INVALID_ARGUMENT"):
        create("a.b")
    with refused("NOT_FOUND"):
        ADMIN.get_secret(name=secret.name + "-none")
    with refused("NOT_FOUND"):
        ADMIN.access_secret_version(name=secret.name + "/versions/3")
    told("values and checksums")


def states():
    secret = create("states")
    for data in (b"one", b"two"):
        ADMIN.add_secret_version(parent=secret.name, payload=sm.SecretPayload(data=data))
    first, second = (secret.name + "/versions/%d" % number for number in (1, 2))
    disabled = ADMIN.disable_secret_version(name=second)
    assert disabled.state == State.DISABLED
    with refused("FAILED_PRECONDITION"):
        ADMIN.access_secret_version(name=secret.name + "/versions/latest")
    enabled = ADMIN.enable_secret_version(request={"name": second, "etag": disabled.etag})
    with refused("FAILED_PRECONDITION"):
        ADMIN.destroy_secret_version(request={"name": second, "etag": disabled.etag})
    destroyed = ADMIN.destroy_secret_version(request={"name": second, "etag": enabled.etag})
    assert destroyed.state == State.DESTROYED and destroyed.destroy_time
    with refused("FAILED_PRECONDITION"):
        ADMIN.enable_secret_version(name=second)
    assert ADMIN.access_secret_version(name=first).payload.data == b"one"
    listed = ADMIN.list_secret_versions(parent=secret.name)
    assert [version.name for version in listed] == [second, first]
    listed = ADMIN.list_secret_versions(request={"parent": secret.name, "filter": "state:ENABLED"})
    assert [version.name for version in listed] == [first]
    told("states of versions")


def updates():
    secret = create("updates", labels={"team": "blue"}, annotations={"note": "à la carte"})
    assert dict(secret.labels) == {"team": "blue"} and secret.annotations["note"] == "à la carte"
    ADMIN.add_secret_version(parent=secret.name, payload=sm.SecretPayload(data=b"one"))
    change = sm.Secret(name=secret.name, etag=secret.etag, version_aliases={"stable": 1}, labels={"team": "red"})
    mask = field_mask_pb2.FieldMask(paths=["version_aliases", "labels"])
    changed = ADMIN.update_secret(secret=change, update_mask=mask)
    assert dict(changed.version_aliases) == {"stable": 1} and changed.labels["team"] == "red"
    assert changed.annotations["note"] == "à la carte" and changed.etag != secret.etag
    assert ADMIN.access_secret_version(name=secret.name + "/versions/stable").payload.data == b"one"
    with refused("FAILED_PRECONDITION"):
        ADMIN.update_secret(secret=change, update_mask=mask)
    with refused("INVALID_ARGUMENT"):
        mask = field_mask_pb2.FieldMask(paths=["replication"])
        ADMIN.update_secret(secret=sm.Secret(name=secret.name), update_mask=mask)
    with refused("FAILED_PRECONDITION"):
        ADMIN.delete_secret(request={"name": secret.name, "etag": secret.etag})
    ADMIN.delete_secret(request={"name": secret.name, "etag": changed.etag})
    with refused("NOT_FOUND"):
        ADMIN.get_secret(name=secret.name)
    expiring = create("expiring", ttl=datetime.timedelta(hours=1))
    assert datetime.timedelta(minutes=59) < expiring.expire_time - expiring.create_time <= datetime.timedelta(hours=1)
    with refused("INVALID_ARGUMENT"):
        create("soon", ttl=datetime.timedelta(seconds=1))
    told("updates, etags and expiry")


def regions():
    parent = PROJECT + "/locations/europe-west3"
    secret = create("regions", parent=parent)
    assert secret.name == NUMBER + "/locations/europe-west3/secrets/" + PREFIX + "regions"
    ADMIN.add_secret_version(parent=secret.name, payload=sm.SecretPayload(data=b"here"))
    assert ADMIN.access_secret_version(name=secret.name + "/versions/1").payload.data == b"here"
    mine = {"parent": parent, "filter": "name:" + PREFIX}
    assert [secret.name for secret in ADMIN.list_secrets(request=mine)] == [secret.name]
    with refused("NOT_FOUND"):
        ADMIN.get_secret(name=PROJECT + "/secrets/" + PREFIX + "regions")
    with refused("INVALID_ARGUMENT"):
        create("global", replication=None)
    with refused("INVALID_ARGUMENT"):
        create("local", parent=parent, replication=AUTOMATIC)
    told("regional secrets")


def pages():
    names = [create("page-%d" % number, labels={"page": "yes"}).name for number in range(5)]
    request = {"parent": PROJECT, "filter": "labels.page=yes AND name:" + PREFIX, "page_size": 2}
    pages = [[secret.name for secret in page.secrets] for page in ADMIN.list_secrets(request=request).pages]
    assert [len(page) for page in pages] == [2, 2, 1]
    assert sum(pages, []) == names[::-1], "newest first"
    for bad in ({"page_token": "invented"}, {"filter": "nonsense"}, {"page_size": -1}):
        with refused("INVALID_ARGUMENT"):
            ADMIN.list_secrets(request=dict(request, **bad))
    told("pages and filters")


def rights():
    name = create("rights").name
    ADMIN.add_secret_version(parent=name, payload=sm.SecretPayload(data=VALUE))
    latest = name + "/versions/latest"
    assert of("accessor").access_secret_version(name=latest).payload.data == VALUE
    assert of("viewer").get_secret_version(name=latest).name == name + "/versions/1"
    denied = "IAM_PERMISSION_DENIED"
    with refused("PERMISSION_DENIED", denied):
        of("viewer").access_secret_version(name=latest)
    with refused("PERMISSION_DENIED", denied):
        of("accessor").get_secret(name=name)
    with refused("PERMISSION_DENIED", denied):
        of("nobody").get_secret(name=name + "-none")
    with refused("PERMISSION_DENIED", denied):
        of("viewer").add_secret_version(parent=name, payload=sm.SecretPayload(data=b"x"))
    with refused("UNAUTHENTICATED", "ACCESS_TOKEN_EXPIRED"):
        of("expired").get_secret(name=name)
    with refused("UNAUTHENTICATED"):
        client(Token("ya29.invented")).get_secret(name=name)
    asked = ["secretmanager.versions.access", "secretmanager.secrets.delete"]
    request = iam_policy_pb2.TestIamPermissionsRequest(resource=name, permissions=asked)
    assert list(ADMIN.test_iam_permissions(request=request).permissions) == asked
    assert list(of("accessor").test_iam_permissions(request=request).permissions) == asked[:1]
    told("rights")


def credentials():
    scopes = ["https://www.googleapis.com/auth/cloud-platform"]
    os.environ["GCE_METADATA_HOST"] = os.environ["GCE_METADATA_IP"] = URL.split("://")[1]
    os.environ["NO_GCE_CHECK"] = "false"
    os.environ["CLOUDSDK_CONFIG"] = os.path.dirname(sys.argv[1])

    def default(file=None):
        os.environ.pop("GOOGLE_APPLICATION_CREDENTIALS", None)
        if file:
            os.environ["GOOGLE_APPLICATION_CREDENTIALS"] = DOUBLE["files"][file]
        return google.auth.default(scopes=scopes)

    for kind in ("serviceAccount", None):
        found, project = default(kind)
        assert project == DOUBLE["project"], project
        assert ADMIN.list_secrets(parent=PROJECT).total_size == client(found).list_secrets(parent=PROJECT).total_size
        told("credentials of %s" % ("a service account that signs for itself" if kind else "a machine"))
    account, _ = default("serviceAccount")
    account = account.with_always_use_jwt_access(False)
    account.refresh(google.auth.transport.requests.Request())
    client(Token(account.token)).list_secrets(parent=PROJECT)
    told("credentials of a service account that asks for a token")
    with open(DOUBLE["files"]["authorizedUser"], encoding="utf-8") as file:
        user = json.load(file)
    # The SDK asks Google's endpoint whatever the file says, so it is told here.
    keys = ("client_id", "client_secret", "refresh_token", "token_uri")
    client(oauth.Credentials(None, **{key: user[key] for key in keys})).list_secrets(parent=PROJECT)
    told("credentials of a user")
    with open(DOUBLE["files"]["serviceAccount"], encoding="utf-8") as file:
        mode = os.fstat(file.fileno()).st_mode & 0o777
    assert mode == 0o600, oct(mode)


def faults():
    name = create("faults").name
    ADMIN.add_secret_version(parent=name, payload=sm.SecretPayload(data=VALUE))
    access = dict(name=name + "/versions/1", retry=None)
    fault(fault="RESOURCE_EXHAUSTED", method="AccessSecretVersion", retryDelay="3s")
    try:
        ADMIN.access_secret_version(**access)
        raise AssertionError("no error")
    except exceptions.TooManyRequests as came:
        assert came.reason == "RATE_LIMIT_EXCEEDED"
        assert [detail["retryDelay"] for detail in came.details if "retryDelay" in detail] == ["3s"]
    for kind, status in (
        ("UNAVAILABLE", "UNAVAILABLE"),
        ("INTERNAL", "INTERNAL"),
        ("ABORTED", "ABORTED"),
        ("SERVICE_DISABLED", "PERMISSION_DENIED"),
    ):
        fault(fault=kind)
        with refused(status, kind if kind == "SERVICE_DISABLED" else None):
            ADMIN.access_secret_version(**access)
    # The SDK's own retry gets over them.
    fault(fault="UNAVAILABLE", count=2)
    quick = retry.Retry(predicate=retry.if_exception_type(exceptions.ServiceUnavailable), initial=0.01)
    assert ADMIN.access_secret_version(name=access["name"], retry=quick).payload.data == VALUE
    fault(fault="WRONG_CHECKSUM")
    wrong = ADMIN.access_secret_version(**access).payload
    assert wrong.data == VALUE and wrong.data_crc32c != crc32c.value(VALUE)
    assert ADMIN.access_secret_version(**access).payload.data_crc32c == crc32c.value(VALUE)
    told("faults")


def clean():
    for parent in (PROJECT, PROJECT + "/locations/europe-west3"):
        for secret in ADMIN.list_secrets(request={"parent": parent, "filter": "name:" + PREFIX}):
            ADMIN.delete_secret(name=secret.name)


try:
    for part in (values, states, updates, regions, pages, rights, credentials, faults):
        part()
finally:
    clean()
told("the end")
