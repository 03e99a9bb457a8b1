#!/usr/bin/env python3
"""What a broker's machine asks AWS for, with the instance's role. Python's own library only: cloud-init brings it.

  aws attach    attaches the broker's data volume to this instance
  aws secrets   fetches the broker's secrets, and writes those that have changed. Waits until all are there; for a minute only, where an earlier run has
                written them all: a broker is not kept from starting because Secrets Manager is away. The broker reads certificates again by itself; a new
                token is read at its next start.
"""
import datetime, grp, hashlib, hmac, json, os, sys, time, urllib.error, urllib.parse, urllib.request

METADATA = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254").rstrip("/")
DONE = "/etc/qanat/tls/.fetched"  # all of them have been written once
CONFIG = json.load(open("/etc/qanat/aws.json"))


def ask(url, method="GET", headers=None, body=None):
    request = urllib.request.Request(url, data=body, headers=headers or {}, method=method)
    with urllib.request.urlopen(request, timeout=10) as response:
        return response.read()


def metadata(path):
    token = ask(METADATA + "/latest/api/token", "PUT", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}).decode()
    return ask(METADATA + "/latest/meta-data/" + path, headers={"X-aws-ec2-metadata-token": token}).decode()


def call(service, body, headers):
    """POSTs to a service of AWS, signed as Signature Version 4 says."""
    variable = {"ec2": "EC2", "secretsmanager": "SECRETS_MANAGER"}[service]
    url = os.environ.get("AWS_ENDPOINT_URL_" + variable, f"https://{service}.{CONFIG['region']}.{CONFIG['domain']}").rstrip("/") + "/"
    role = "iam/security-credentials/"
    key = json.loads(metadata(role + metadata(role).split()[0]))
    stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{stamp[:8]}/{CONFIG['region']}/{service}/aws4_request"
    headers |= {"host": url.split("/")[2], "x-amz-date": stamp, "x-amz-security-token": key["Token"]}
    names = ";".join(sorted(headers))
    canonical = "\n".join(["POST", "/", ""] + [f"{n}:{headers[n]}" for n in sorted(headers)] + ["", names, hashlib.sha256(body).hexdigest()])
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    secret = ("AWS4" + key["SecretAccessKey"]).encode()
    for part in scope.split("/"):
        secret = hmac.new(secret, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()
    headers["authorization"] = f"AWS4-HMAC-SHA256 Credential={key['AccessKeyId']}/{scope}, SignedHeaders={names}, Signature={signature}"
    return ask(url, "POST", headers, body)


def attach():
    ask_for = {"Action": "AttachVolume", "Version": "2016-11-15", "VolumeId": CONFIG["volume"], "InstanceId": metadata("instance-id"), "Device": "/dev/sdq"}
    call("ec2", urllib.parse.urlencode(ask_for).encode(), {"content-type": "application/x-www-form-urlencoded; charset=utf-8"})


def fetch(arn):
    body = json.dumps({"SecretId": arn}).encode()
    return json.loads(call("secretsmanager", body, {"content-type": "application/x-amz-json-1.1", "x-amz-target": "secretsmanager.GetSecretValue"}))["SecretString"]


def put(path, text, mode, group):
    if os.path.exists(path) and open(path).read() == text:
        return
    with open(os.open(path + ".new", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as f:
        f.write(text)
        os.fchown(f.fileno(), 0, grp.getgrnam(group).gr_gid)
        os.fchmod(f.fileno(), mode)
    os.rename(path + ".new", path)
    print("new:", path, flush=True)


def secrets():
    files = []
    for name, arn in CONFIG["secrets"].items():
        value = fetch(arn)
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
    do, enough = {"attach": (attach, lambda: False), "secrets": (secrets, lambda: os.path.exists(DONE))}[sys.argv[1]]
    said, until = None, time.monotonic() + 60
    while True:
        try:
            return do()
        except (OSError, ValueError, KeyError) as e:
            text = e.read().decode(errors="replace") if isinstance(e, urllib.error.HTTPError) else ""
            if (say := f"not yet: {e} {text}".strip()) != said:
                print(say, file=sys.stderr, flush=True)
                said = say
        if enough() and time.monotonic() > until:
            return print("what is there is used", file=sys.stderr)
        time.sleep(5)


if __name__ == "__main__":
    main()
