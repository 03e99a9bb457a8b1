#!/usr/bin/env python3
"""Fetches the broker's secrets with the instance's role, and writes those that have changed. Waits until all are there; for a minute only, where an earlier
run has written them all: a broker is not kept from starting because Secrets Manager is away.

The broker reads certificates again by itself; a new token is read at its next start. Python's own library only: cloud-init brings it.
"""
import datetime, grp, hashlib, hmac, json, os, sys, time, urllib.error, urllib.request

METADATA = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254").rstrip("/")
DONE = "/etc/qanat/tls/.fetched"  # all of them have been written once


def ask(url, method="GET", headers=None, body=None):
    request = urllib.request.Request(url, data=body, headers=headers or {}, method=method)
    with urllib.request.urlopen(request, timeout=10) as response:
        return response.read()


def credentials():
    token = ask(METADATA + "/latest/api/token", "PUT", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}).decode()
    head = {"X-aws-ec2-metadata-token": token}
    base = METADATA + "/latest/meta-data/iam/security-credentials/"
    return json.loads(ask(base + ask(base, headers=head).decode().split()[0], headers=head))


def signed(url, region, target, body, key, now):
    """The headers of a request, signed as AWS Signature Version 4 says."""
    host = url.split("://", 1)[1].rstrip("/")
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{stamp[:8]}/{region}/secretsmanager/aws4_request"
    headers = {
        "content-type": "application/x-amz-json-1.1",
        "host": host,
        "x-amz-date": stamp,
        "x-amz-security-token": key["Token"],
        "x-amz-target": target,
    }
    names = ";".join(sorted(headers))
    canonical = "\n".join(["POST", "/", ""] + [f"{n}:{headers[n]}" for n in sorted(headers)] + ["", names, hashlib.sha256(body).hexdigest()])
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    secret = ("AWS4" + key["SecretAccessKey"]).encode()
    for part in scope.split("/"):
        secret = hmac.new(secret, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()
    headers["authorization"] = f"AWS4-HMAC-SHA256 Credential={key['AccessKeyId']}/{scope}, SignedHeaders={names}, Signature={signature}"
    return headers


def fetch(c, arn):
    url = os.environ.get("AWS_ENDPOINT_URL_SECRETS_MANAGER", c["endpoint"]).rstrip("/") + "/"
    body = json.dumps({"SecretId": arn}).encode()
    now = datetime.datetime.now(datetime.timezone.utc)
    answer = ask(url, "POST", signed(url, c["region"], "secretsmanager.GetSecretValue", body, credentials(), now), body)
    return json.loads(answer)["SecretString"]


def put(path, text, mode, group):
    if os.path.exists(path) and open(path).read() == text:
        return
    with open(os.open(path + ".new", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as f:
        f.write(text)
        os.fchown(f.fileno(), 0, grp.getgrnam(group).gr_gid)
        os.fchmod(f.fileno(), mode)
    os.rename(path + ".new", path)
    print("new:", path, flush=True)


def once(c):
    files = []
    for name, arn in c["files"].items():
        value = fetch(c, arn)
        if name == "ca":
            files.append(("/etc/qanat/tls/ca.pem", value, 0o644, "qanat"))
        elif name == "join-token":
            files.append(("/etc/qanat/token.env", "QANAT_CLUSTER_JOIN_TOKEN=" + json.dumps(value) + "\n", 0o600, "root"))
        else:
            pair = json.loads(value)
            # The key first: the broker takes a pair up when both fit.
            files.append(("/etc/qanat/tls/broker-key.pem", pair["key"], 0o640, "qanat"))
            files.append(("/etc/qanat/tls/broker.pem", pair["certificate"], 0o644, "qanat"))
    os.makedirs("/etc/qanat/tls", 0o755, exist_ok=True)
    for f in files:
        put(*f)
    open(DONE, "w").close()


def main():
    c = json.load(open("/etc/qanat/secrets.json"))
    said, until = None, time.monotonic() + 60
    while True:
        try:
            return once(c)
        except (OSError, ValueError, KeyError) as e:
            text = e.read().decode(errors="replace") if isinstance(e, urllib.error.HTTPError) else ""
            if (say := f"not yet: {e} {text}".strip()) != said:
                print(say, file=sys.stderr, flush=True)
                said = say
        if os.path.exists(DONE) and time.monotonic() > until:
            return print("what is there is used", file=sys.stderr)
        time.sleep(5)


if __name__ == "__main__":
    main()
