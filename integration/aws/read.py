"""Prints what is in an account, as JSON. setup makes a VPC, with what the examples are given; obstruct and clear take a secret's name and give it free;
lift-policy prints a bucket's policy and takes it away, put-policy gives it back."""
import base64, json, sys
import boto3

ec2, elb, s3, iam = (boto3.client(n) for n in ("ec2", "elbv2", "s3", "iam"))
r53, secrets, kms = (boto3.client(n) for n in ("route53", "secretsmanager", "kms"))


def setup():
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = {}
    for i, az in enumerate("abc"):
        zone = ec2.meta.region_name + az
        subnets[zone] = ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{i}.0/24", AvailabilityZone=zone)["Subnet"]["SubnetId"]
    table = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["RouteTables"][0]["RouteTableId"]
    ami = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    return {"vpc": vpc, "subnets": subnets, "route_tables": [table], "ami": ami, "kms_key": kms.create_key()["KeyMetadata"]["Arn"]}


def tags(list_):
    return {t["Key"]: t["Value"] for t in list_ or []}


def missing(call, **kw):
    try:
        return call(**kw)
    except Exception as e:
        if type(e).__name__ in ("ClientError", "NoSuchEntityException"):
            return {}
        raise


def instances():
    found = {}
    for r in ec2.describe_instances()["Reservations"]:
        for i in r["Instances"]:
            if i["State"]["Name"] == "terminated":
                continue
            data = ec2.describe_instance_attribute(InstanceId=i["InstanceId"], Attribute="userData")["UserData"].get("Value", "")
            found[i["InstanceId"]] = {
                "state": i["State"]["Name"],
                "type": i["InstanceType"],
                "tags": tags(i.get("Tags")),
                "tokens": i.get("MetadataOptions", {}).get("HttpTokens"),
                "hops": i.get("MetadataOptions", {}).get("HttpPutResponseHopLimit"),
                "interfaces": [n["NetworkInterfaceId"] for n in i["NetworkInterfaces"]],
                "profile": i.get("IamInstanceProfile", {}).get("Arn"),
                "user_data": base64.b64decode(data).decode(),
            }
    return found


def volumes():
    return {
        v["VolumeId"]: {
            "type": v["VolumeType"], "size": v["Size"], "iops": v.get("Iops"), "throughput": v.get("Throughput"), "encrypted": v["Encrypted"],
            "kms": v.get("KmsKeyId"), "az": v["AvailabilityZone"], "tags": tags(v.get("Tags")), "attached": [a["InstanceId"] for a in v["Attachments"]],
        }
        for v in ec2.describe_volumes()["Volumes"]
    }


def rules():
    return [
        {
            "group": r["GroupId"], "egress": r["IsEgress"], "from": r.get("FromPort"), "to": r.get("ToPort"), "protocol": r["IpProtocol"],
            "cidr": r.get("CidrIpv4"), "source": r.get("ReferencedGroupInfo", {}).get("GroupId"),
        }
        for r in ec2.describe_security_group_rules()["SecurityGroupRules"]
    ]


def buckets():
    found = {}
    for b in s3.list_buckets()["Buckets"]:
        n = b["Name"]
        found[n] = {
            "policy": json.loads(missing(s3.get_bucket_policy, Bucket=n).get("Policy", "null")),
            "public": missing(s3.get_public_access_block, Bucket=n).get("PublicAccessBlockConfiguration"),
            "encryption": missing(s3.get_bucket_encryption, Bucket=n).get("ServerSideEncryptionConfiguration", {}).get("Rules"),
            "lifecycle": missing(s3.get_bucket_lifecycle_configuration, Bucket=n).get("Rules"),
            "ownership": missing(s3.get_bucket_ownership_controls, Bucket=n).get("OwnershipControls", {}).get("Rules"),
        }
    return found


def roles():
    found = {}
    for r in iam.list_roles()["Roles"]:
        n = r["RoleName"]
        found[n] = {
            "assume": r["AssumeRolePolicyDocument"],
            "policies": {p: iam.get_role_policy(RoleName=n, PolicyName=p)["PolicyDocument"] for p in iam.list_role_policies(RoleName=n)["PolicyNames"]},
            "attached": [p["PolicyArn"] for p in iam.list_attached_role_policies(RoleName=n)["AttachedPolicies"]],
        }
    return found


def balancers():
    found = {}
    for b in elb.describe_load_balancers()["LoadBalancers"]:
        arn = b["LoadBalancerArn"]
        found[b["LoadBalancerName"]] = {
            "type": b["Type"], "scheme": b["Scheme"], "dns": b["DNSName"], "groups": b.get("SecurityGroups", []), "subnets": sorted(z["SubnetId"] for z in b["AvailabilityZones"]),
            "listeners": [{"port": l["Port"], "protocol": l["Protocol"]} for l in elb.describe_listeners(LoadBalancerArn=arn)["Listeners"]],
            "targets": [
                {
                    "type": g["TargetType"], "path": g.get("HealthCheckPath"), "port": g["HealthCheckPort"], "protocol": g["HealthCheckProtocol"],
                    "addresses": sorted(h["Target"]["Id"] for h in elb.describe_target_health(TargetGroupArn=g["TargetGroupArn"])["TargetHealthDescriptions"]),
                }
                for g in elb.describe_target_groups(LoadBalancerArn=arn)["TargetGroups"]
            ],
        }
    return found


def records():
    return {
        r["Name"].rstrip("."): [v["Value"] for v in r.get("ResourceRecords", [])] or [r["AliasTarget"]["DNSName"].rstrip(".")]
        for z in r53.list_hosted_zones()["HostedZones"]
        for r in r53.list_resource_record_sets(HostedZoneId=z["Id"])["ResourceRecordSets"]
        if r["Type"] == "A"
    }


def everything():
    return {
        "instances": instances(),
        "volumes": volumes(),
        "interfaces": {n["NetworkInterfaceId"]: {"address": n["PrivateIpAddress"], "groups": [g["GroupId"] for g in n["Groups"]]} for n in ec2.describe_network_interfaces()["NetworkInterfaces"]},
        "groups": {g["GroupName"]: g["GroupId"] for g in ec2.describe_security_groups()["SecurityGroups"]},
        "rules": rules(),
        "endpoints": [{"service": e["ServiceName"], "type": e["VpcEndpointType"], "tables": e["RouteTableIds"]} for e in ec2.describe_vpc_endpoints()["VpcEndpoints"]],
        "buckets": buckets(),
        "roles": roles(),
        "profiles": [p["InstanceProfileName"] for p in iam.list_instance_profiles()["InstanceProfiles"]],
        "balancers": balancers(),
        "records": records(),
        "zones": [z["Name"] for z in r53.list_hosted_zones()["HostedZones"]],
        "secrets": {s["Name"]: {"arn": s["ARN"], "kms": s.get("KmsKeyId"), "value": missing(secrets.get_secret_value, SecretId=s["ARN"]).get("SecretString")} for s in secrets.list_secrets()["SecretList"]},
    }


do = sys.argv[1] if len(sys.argv) > 1 else "everything"
if do == "setup":
    print(json.dumps(setup()))
elif do == "obstruct":
    secrets.create_secret(Name=sys.argv[2], SecretString="in the way")
elif do == "lift-policy":
    print(s3.get_bucket_policy(Bucket=sys.argv[2])["Policy"], end="")
    s3.delete_bucket_policy(Bucket=sys.argv[2])
elif do == "put-policy":
    s3.put_bucket_policy(Bucket=sys.argv[2], Policy=sys.argv[3])
elif do == "clear":
    secrets.delete_secret(SecretId=sys.argv[2], ForceDeleteWithoutRecovery=True)
else:
    print(json.dumps(everything()))
