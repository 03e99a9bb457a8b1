package aws

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// motosOwn are the differences that a second plan shows because moto tells AWS's provider something else than was asked for, by resource and
// attribute, with why.
var motosOwn = map[string]string{
	"aws_vpc_security_group_ingress_rule.description": "moto forgets the description of a rule whose source is a group",
	"aws_vpc_security_group_egress_rule.description":  "moto forgets the description of a rule whose target is a group",
}

// planned is what `terraform show -json` has of a plan.
type planned struct {
	ResourceChanges []struct {
		Address string
		Type    string
		Index   any
		Change  struct {
			Actions       []string
			Before, After map[string]any
		}
	} `json:"resource_changes"`
}

// plan is what would be done, by address; what would be left as it is is not in it.
func (s *stack) plan(t *testing.T, ctx context.Context, file string) map[string]string {
	t.Helper()
	s.must(t, ctx, "plan", "-input=false", "-out="+file)
	var p planned
	if err := json.Unmarshal([]byte(s.must(t, ctx, "show", "-json", file)), &p); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, r := range p.ResourceChanges {
		actions := strings.Join(r.Change.Actions, ",")
		if actions == "no-op" || actions == "read" {
			continue
		}
		if actions == "update" {
			var changed []string
			for k := range r.Change.After {
				if fmt.Sprint(r.Change.Before[k]) != fmt.Sprint(r.Change.After[k]) {
					changed = append(changed, r.Type+"."+k)
				}
			}
			if !slices.ContainsFunc(changed, func(k string) bool { return motosOwn[k] == "" }) {
				continue
			}
			actions += fmt.Sprintf(" of %v", changed)
		}
		found[r.Address] = actions
	}
	return found
}

// settled fails when a second plan would do anything but what moto is known for.
func (s *stack) settled(t *testing.T, ctx context.Context) {
	t.Helper()
	for address, actions := range s.plan(t, ctx, "settled.plan") {
		t.Errorf("a second plan: %s: %s", address, actions)
	}
}

// destroyed destroys all of it, and fails when anything is left of it in the account.
func (s *stack) destroyed(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	s.must(t, ctx, "destroy", "-auto-approve", "-input=false")
	a := s.region.readBack(t, ctx)
	var left []string
	for id, v := range a.Volumes {
		if v.Tags["qanat:cluster"] == name {
			left = append(left, "volume "+id)
		}
	}
	for id, i := range a.Instances {
		if i.Tags["qanat:cluster"] == name {
			left = append(left, "instance "+id)
		}
	}
	for what, names := range map[string][]string{
		"security group": sortedKeys(a.Groups), "bucket": sortedKeys(a.Buckets), "role": sortedKeys(a.Roles), "profile": a.Profiles,
		"load balancer": sortedKeys(a.Balancers), "name": sortedKeys(a.Records), "zone": a.Zones, "secret": sortedKeys(a.Secrets),
	} {
		for _, n := range names {
			if strings.HasPrefix(n, name) {
				left = append(left, what+" "+n)
			}
		}
	}
	if len(left) > 0 {
		t.Errorf("destroy leaves %v", left)
	}
}

// False if it failed: "the smallest example gives one broker with its volume, bucket, name and rights, a second plan changes nothing, and destroy leaves nothing".
func TestSmallest(t *testing.T) {
	needAWS(t)
	t.Parallel()
	ctx := within(t, 20*time.Minute)
	n := newNetwork(t, ctx, "eu-west-1")
	s := newStack(t, ctx, "aws-smallest", "eu-west-1", map[string]any{
		"vpc": n.VPC, "ami": n.AMI, "command": "",
		"subnet":   map[string]string{"az": "eu-west-1a", "id": n.Subnets["eu-west-1a"], "cidr": "10.0.0.0/24"},
		"artifact": map[string]string{"url": "https://example.org/qanat.tar.gz", "sha256": strings.Repeat("a", 64)},
	})
	s.must(t, ctx, "apply", "-auto-approve", "-input=false")
	s.settled(t, ctx)
	var out struct {
		Bootstrap string
		Bucket    struct{ Name string }
		Brokers   map[string]struct{ Kafka, Address, Instance, Volume string }
	}
	s.outputs(t, ctx, &out)
	a := s.region.readBack(t, ctx)
	same(t, "bootstrap", out.Bootstrap, "bootstrap.qanat-try.internal:9092")
	b := out.Brokers["1"]
	same(t, "name", a.Records["broker-1.qanat-try.internal"], []string{b.Address})
	i := a.Instances[b.Instance]
	same(t, "instance type", i.Type, "t4g.small")
	same(t, "IMDSv2", i.Tokens, "required")
	v := a.Volumes[b.Volume]
	same(t, "volume", []any{v.Type, v.Size, v.Encrypted}, []any{"gp3", 20, true})
	same(t, "encryption", fmt.Sprint(a.Buckets[out.Bucket.Name].Encryption[0]["ApplyServerSideEncryptionByDefault"]), "map[SSEAlgorithm:AES256]")
	if strings.Contains(i.UserData, "qanat-secrets") || !strings.Contains(i.UserData, `"listeners": "PLAINTEXT://0.0.0.0:9092"`) {
		t.Errorf("user data:\n%s", i.UserData)
	}
	s.destroyed(t, ctx, "qanat-try")
}

// production is what the production example says of itself.
type production struct {
	Bootstrap string
	Brokers   map[string]struct{ Kafka, Admin, Address, AZ, Instance, Volume string }
	Bucket    struct{ Name, ARN, Prefix string }
	Roles     map[string]struct{ Name, ARN string }
	CASecret  string `json:"ca_secret"`
	Secrets   map[string]string
	Provider  struct {
		Bootstrap string `json:"bootstrap_servers"`
		TLS       struct{ CA string }
	}
	UserData map[string]string `json:"user_data"`
}

// False if it failed: "the production example gives what the module promises: an apply that breaks off is finished by the next, what is there is what was promised, its
// user data make three machines that are one cluster, an apply that replaces all brokers replaces one after the other, each from a healthy cluster, also where it is broken off and done again,
// and they keep volume, address, name and what was acknowledged; destroy leaves nothing".
func TestProduction(t *testing.T) {
	needAWS(t)
	t.Parallel()
	ctx := within(t, 20*time.Minute)
	bin := program(t)
	n := newNetwork(t, ctx, "eu-central-1")
	certs, art := certificates(t, ctx, bin), pack(t, ctx, bin)
	h := newHypervisor(t, ctx, bin, art.path, []string{"1", "2", "3"})
	variables := map[string]any{
		"vpc": n.VPC, "subnets": n.Subnets, "route_tables": n.RouteTables, "ami": n.AMI, "kms_key": n.KMSKey, "ca": certs.ca,
		"client_cidr": "10.0.0.0/16", "admin_cidr": "10.9.0.0/24", "collector": "http://collector.example.internal:4318",
		"artifact": map[string]string{"url": "file:///root/qanat.tar.gz", "sha256": art.sha256},
		"command":  h.command,
	}
	s := newStack(t, ctx, "aws-production", "eu-central-1", variables)
	s.envs = append(s.envs, "AWS_ENDPOINT_URL_EC2="+h.url, "TF_VAR_join_token=between brokers $only", "TF_VAR_certificates="+certs.json, "ROLL_PATIENCE=10")

	// Half of it: a secret's name is taken.
	output(t, ctx, s.region.python(ctx, "obstruct", "kafka-prod/broker-2"))
	if out, err := s.run(ctx, "apply", "-auto-approve", "-input=false"); err == nil || !strings.Contains(out, "kafka-prod/broker-2") {
		t.Fatalf("an apply over a name that is taken: %v\n%s", err, out)
	}
	output(t, ctx, s.region.python(ctx, "clear", "kafka-prod/broker-2"))
	h.apply(t, ctx, s)

	var out production
	s.outputs(t, ctx, &out)
	promised(t, s.region.readBack(t, ctx), out, n, certs)
	state, err := os.ReadFile(filepath.Join(s.dir, "terraform.tfstate"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(state), "PRIVATE KEY") || strings.Contains(string(state), "between brokers") {
		t.Error("the state holds a secret")
	}
	cluster(t, ctx, h, s, out)
	rolled(t, ctx, h, s, variables, out, certs)
	s.settled(t, ctx)
	foreign(t, ctx, h.machines["3"])
	s.destroyed(t, ctx, "kafka-prod")
}

// promised compares what is there with what the module says that it makes.
func promised(t *testing.T, a account, out production, n network, certs certificateSet) {
	t.Helper()
	brokers, bootstrap := a.Groups["kafka-prod-broker"], a.Groups["kafka-prod-bootstrap"]
	var addresses []string
	for id, b := range out.Brokers {
		az := "eu-central-1" + string("abc"[id[0]-'1'])
		i, v := a.Instances[b.Instance], a.Volumes[b.Volume]
		same(t, "broker "+id+": instance", []any{i.Type, i.Tokens, i.Hops, i.Tags["qanat:node"], i.Tags["team"], i.Profile}, []any{"m7g.xlarge", "required", 1, id, "platform", "arn:aws:iam::123456789012:instance-profile/kafka-prod-broker-" + id})
		same(t, "broker "+id+": volume", []any{v.Type, v.Size, v.IOPS, v.Throughput, v.Encrypted, v.KMS, v.Az, v.Attached}, []any{"gp3", 500, 6000, 500, true, n.KMSKey, az, []string{b.Instance}})
		if len(i.Interfaces) != 1 {
			t.Fatalf("broker %s has interfaces %v", id, i.Interfaces)
		}
		e := a.Interfaces[i.Interfaces[0]]
		same(t, "broker "+id+": interface", []any{e.Address, e.Groups}, []any{b.Address, []string{brokers}})
		same(t, "broker "+id+": name", a.Records["broker-"+id+".kafka.example.internal"], []string{b.Address})
		same(t, "broker "+id+": user data", i.UserData, out.UserData[id])
		for _, want := range []string{
			`"node.id": "` + id + `"`, `"broker.rack": "` + az + `"`, `"bucket.url": "s3://` + out.Bucket.Name + `/kafka-prod?region=eu-central-1"`,
			`"cluster.peers": "1@broker-1.kafka.example.internal:9645,2@broker-2.kafka.example.internal:9645,3@broker-3.kafka.example.internal:9645"`,
			"OTEL_EXPORTER_OTLP_ENDPOINT=http://collector.example.internal:4318", strings.ReplaceAll(b.Volume, "-", ""), `"security.inter.broker.protocol": "SSL"`,
		} {
			if !strings.Contains(i.UserData, want) {
				t.Errorf("broker %s: its user data lack %s", id, want)
			}
		}
		if strings.Contains(i.UserData, "PRIVATE KEY") || strings.Contains(i.UserData, "between brokers") {
			t.Errorf("broker %s: its user data hold a secret", id)
		}
		addresses = append(addresses, b.Address)
	}
	slices.Sort(addresses)
	same(t, "outputs", []any{out.Bootstrap, out.Provider.Bootstrap, out.Provider.TLS.CA == certs.ca, out.Brokers["2"].Admin}, []any{"bootstrap.kafka.example.internal:9092",
		"broker-1.kafka.example.internal:9092,broker-2.kafka.example.internal:9092,broker-3.kafka.example.internal:9092", true, "https://broker-2.kafka.example.internal:9644"})

	lb := a.Balancers["kafka-prod-kafka"]
	same(t, "load balancer", []any{lb.Type, lb.Scheme, lb.Groups, lb.Subnets}, []any{"network", "internal", []string{bootstrap}, slices.Sorted(maps.Values(n.Subnets))})
	same(t, "bootstrap name", a.Records["bootstrap.kafka.example.internal"], []string{lb.DNS})
	same(t, "listener", fmt.Sprint(lb.Listeners), "[{9092 TCP}]")
	if len(lb.Targets) != 1 {
		t.Fatalf("target groups: %v", lb.Targets)
	}
	same(t, "targets", lb.Targets[0], struct {
		Type, Path, Port, Protocol string
		Addresses                  []string
	}{"ip", "/readyz", "9644", "HTTPS", addresses})

	// Who may connect to what: every rule, and no other.
	var rules []string
	named := map[string]string{brokers: "broker", bootstrap: "bootstrap", "": ""}
	for _, r := range a.Rules {
		if r.Group != brokers && r.Group != bootstrap {
			continue
		}
		way := "in"
		if r.Egress {
			way = "out"
		}
		rules = append(rules, fmt.Sprintf("%s %s %s%s %s %d-%d", named[r.Group], way, r.CIDR, named[r.Source], r.Protocol, r.From, r.To))
	}
	slices.Sort(rules)
	same(t, "security groups", rules, []string{
		"bootstrap in 10.0.0.0/16 tcp 9092-9092",
		"bootstrap out broker tcp 9092-9092",
		"bootstrap out broker tcp 9644-9644",
		"broker in 10.0.0.0/16 tcp 9092-9092",
		"broker in 10.9.0.0/24 tcp 9644-9644",
		"broker in bootstrap tcp 9092-9092",
		"broker in bootstrap tcp 9644-9644",
		"broker in broker tcp 9644-9644",
		"broker in broker tcp 9645-9645",
		"broker out 0.0.0.0/0 tcp 4318-4318",
		"broker out 0.0.0.0/0 tcp 443-443",
		"broker out broker tcp 9644-9644",
		"broker out broker tcp 9645-9645",
	})
	same(t, "endpoint", fmt.Sprint(a.Endpoints), fmt.Sprintf("[{com.amazonaws.eu-central-1.s3 Gateway [%s]}]", n.RouteTables[0]))

	bucket := a.Buckets[out.Bucket.Name]
	same(t, "bucket: public access", bucket.Public, map[string]bool{"BlockPublicAcls": true, "BlockPublicPolicy": true, "IgnorePublicAcls": true, "RestrictPublicBuckets": true})
	same(t, "bucket: encryption", bucket.Encryption, []map[string]any{{"ApplyServerSideEncryptionByDefault": map[string]any{"KMSMasterKeyID": n.KMSKey, "SSEAlgorithm": "aws:kms"}, "BucketKeyEnabled": true}})
	same(t, "bucket: ownership", fmt.Sprint(bucket.Ownership), "[map[ObjectOwnership:BucketOwnerEnforced]]")
	if len(bucket.Lifecycle) != 1 || bucket.Lifecycle[0]["Expiration"] != nil || fmt.Sprint(bucket.Lifecycle[0]["AbortIncompleteMultipartUpload"]) != "map[DaysAfterInitiation:2]" {
		t.Errorf("bucket: lifecycle does something else than to end uploads: %v", bucket.Lifecycle)
	}
	same(t, "bucket: policy", fmt.Sprint(bucket.Policy), fmt.Sprintf("map[Statement:[map[Action:s3:* Condition:map[Bool:map[aws:SecureTransport:false]] Effect:Deny Principal:* Resource:[%[1]s/* %[1]s] Sid:TLSOnly]] Version:2012-10-17]", out.Bucket.ARN))

	for id, b := range out.Brokers {
		role := a.Roles[out.Roles[id].Name]
		var may []string
		for _, s := range role.Policies["broker"].Statement {
			may = append(may, fmt.Sprintf("%s %s %v %v %v", s.Effect, s.Sid, list(s.Action), list(s.Resource), s.Condition))
		}
		secrets := []string{out.Secrets["broker-"+id], out.Secrets["ca"], out.Secrets["join-token"]}
		slices.Sort(secrets)
		same(t, "role of broker "+id, append(may, role.Attached...), []string{
			fmt.Sprintf("Allow Objects [s3:AbortMultipartUpload s3:DeleteObject s3:GetObject s3:ListMultipartUploadParts s3:PutObject] [%s/kafka-prod/*] <nil>", out.Bucket.ARN),
			fmt.Sprintf("Allow List [s3:ListBucket] [%s] map[StringLike:map[s3:prefix:kafka-prod/*]]", out.Bucket.ARN),
			fmt.Sprintf("Allow Volume [ec2:AttachVolume] [arn:aws:ec2:eu-central-1:123456789012:volume/%s] <nil>", b.Volume),
			fmt.Sprintf("Allow Instance [ec2:AttachVolume] [arn:aws:ec2:eu-central-1:123456789012:instance/*] map[StringEquals:map[aws:ResourceTag/qanat:cluster:kafka-prod aws:ResourceTag/qanat:node:%s]]", id),
			fmt.Sprintf("Allow Secrets [secretsmanager:GetSecretValue] %v <nil>", secrets),
			fmt.Sprintf("Allow Key [kms:Decrypt kms:GenerateDataKey] [%s] <nil>", n.KMSKey),
			fmt.Sprintf("Allow VolumeKey [kms:CreateGrant kms:DescribeKey] [%s] map[StringEquals:map[kms:ViaService:ec2.eu-central-1.amazonaws.com]]", n.KMSKey),
		})
	}
	same(t, "secrets", sortedKeys(out.Secrets), []string{"broker-1", "broker-2", "broker-3", "ca", "join-token"})
	for name, arn := range out.Secrets {
		v := a.Secrets["kafka-prod/"+name]
		same(t, "secret "+name, []string{v.ARN, v.KMS}, []string{arn, n.KMSKey})
	}
	same(t, "secret ca", a.Secrets["kafka-prod/ca"].Value, certs.ca)
	same(t, "secret join-token", a.Secrets["kafka-prod/join-token"].Value, "between brokers $only")
	if !strings.Contains(a.Secrets["kafka-prod/broker-2"].Value, "PRIVATE KEY") {
		t.Error("broker 2's key is not in its secret")
	}
}
