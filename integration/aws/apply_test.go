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
	// moto's own: an interface stays attached to the instance that is gone, so that the provider cannot detach it. What is left by then is destroyed by the next.
	if out, err := s.run(ctx, "destroy", "-auto-approve", "-input=false"); err != nil {
		if !strings.Contains(out, "DetachNetworkInterface") {
			t.Fatalf("destroy: %v\n%s", err, out)
		}
		output(t, ctx, python(ctx, "detach", name))
		s.must(t, ctx, "destroy", "-auto-approve", "-input=false")
	}
	raw, err := json.Marshal(readBack(t, ctx))
	if err != nil {
		t.Fatal(err)
	}
	var a account
	if err := json.Unmarshal(raw, &a); err != nil {
		t.Fatal(err)
	}
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
	ctx := within(t, 20*time.Minute)
	n := newNetwork(t, ctx)
	s := newStack(t, ctx, "aws-smallest", map[string]any{
		"vpc": n.VPC, "ami": n.AMI, "command": "",
		"subnet":   map[string]string{"az": "eu-central-1a", "id": n.Subnets["eu-central-1a"], "cidr": "10.0.0.0/24"},
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
	a := readBack(t, ctx)
	same(t, "bootstrap", out.Bootstrap, "bootstrap.qanat-try.internal:9092")
	b := out.Brokers["1"]
	same(t, "name", a.Records["broker-1.qanat-try.internal"], []string{b.Address})
	i := a.Instances[b.Instance]
	same(t, "instance type", i.Type, "t4g.small")
	same(t, "IMDSv2", i.Tokens, "required")
	v := a.Volumes[b.Volume]
	same(t, "volume", []any{v.Type, v.Size, v.Encrypted, v.Attached}, []any{"gp3", 20, true, []string{b.Instance}})
	same(t, "encryption", fmt.Sprint(a.Buckets[out.Bucket.Name].Encryption[0]["ApplyServerSideEncryptionByDefault"]), "map[SSEAlgorithm:AES256]")
	if strings.Contains(i.UserData, "secrets") || !strings.Contains(i.UserData, `"listeners": "PLAINTEXT://0.0.0.0:9092"`) {
		t.Errorf("user data:\n%s", i.UserData)
	}
	s.destroyed(t, ctx, "qanat-try")
}

// production is what the production example says of itself.
type production struct {
	Bootstrap string
	Brokers   map[string]struct{ Kafka, Admin, Address, AZ, Instance, Volume string }
	Bucket    struct{ Name, ARN, Prefix string }
	Role      struct{ Name, ARN string }
	CASecret  string `json:"ca_secret"`
	Secrets   map[string]string
	Provider  struct {
		Bootstrap string `json:"bootstrap_servers"`
		TLS       struct{ CA string }
	}
	UserData map[string]string `json:"user_data"`
}

// False if it failed: "the production example gives what the module promises: an apply that breaks off is finished by the next, what is there is what
// was promised, its user data make three machines that are one cluster, another instance type of a broker replaces it and keeps volume, address and name, of several at once is refused before any goes,
// and destroy leaves nothing".
func TestProduction(t *testing.T) {
	needAWS(t)
	ctx := within(t, 20*time.Minute)
	bin := program(t)
	n := newNetwork(t, ctx)
	certs, art := certificates(t, ctx, bin), pack(t, ctx, bin)
	variables := map[string]any{
		"vpc": n.VPC, "subnets": n.Subnets, "route_tables": n.RouteTables, "ami": n.AMI, "kms_key": n.KMSKey, "ca": certs.ca,
		"client_cidr": "10.0.0.0/16", "admin_cidr": "10.9.0.0/24", "collector": "http://collector.example.internal:4318",
		"artifact": map[string]string{"url": "file:///root/qanat.tar.gz", "sha256": art.sha256},
		"command":  "true",
	}
	s := newStack(t, ctx, "aws-production", variables)
	s.envs = []string{"TF_VAR_join_token=between brokers $only", "TF_VAR_certificates=" + certs.json}

	// Half of it: a secret's name is taken.
	output(t, ctx, python(ctx, "obstruct", "kafka-prod/broker-2"))
	if out, err := s.run(ctx, "apply", "-auto-approve", "-input=false"); err == nil || !strings.Contains(out, "kafka-prod/broker-2") {
		t.Fatalf("an apply over a name that is taken: %v\n%s", err, out)
	}
	output(t, ctx, python(ctx, "clear", "kafka-prod/broker-2"))
	s.must(t, ctx, "apply", "-auto-approve", "-input=false")
	s.settled(t, ctx)

	var out production
	s.outputs(t, ctx, &out)
	a := readBack(t, ctx)
	promised(t, a, out, n, certs)
	state, err := os.ReadFile(filepath.Join(s.dir, "terraform.tfstate"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(state), "PRIVATE KEY") || strings.Contains(string(state), "between brokers") {
		t.Error("the state holds a secret")
	}

	t.Run("machines", func(t *testing.T) { machines(t, ctx, bin, art.path, out, a) })
	rolled(t, ctx, s, variables, out)
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
		same(t, "broker "+id+": instance", []any{i.Type, i.Tokens, i.Hops, i.Tags["qanat:node"], i.Tags["team"], i.Profile}, []any{"m7g.xlarge", "required", 1, id, "platform", "arn:aws:iam::123456789012:instance-profile/kafka-prod-broker"})
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

	role := a.Roles[out.Role.Name]
	var may []string
	for _, s := range role.Policies["broker"].Statement {
		may = append(may, fmt.Sprintf("%s %s %v %v %v", s.Effect, s.Sid, list(s.Action), list(s.Resource), s.Condition))
	}
	secrets := slices.Sorted(maps.Values(out.Secrets))
	same(t, "role", append(may, role.Attached...), []string{
		fmt.Sprintf("Allow Objects [s3:AbortMultipartUpload s3:DeleteObject s3:GetObject s3:ListMultipartUploadParts s3:PutObject] [%s/kafka-prod/*] <nil>", out.Bucket.ARN),
		fmt.Sprintf("Allow List [s3:ListBucket] [%s] map[StringLike:map[s3:prefix:kafka-prod/*]]", out.Bucket.ARN),
		fmt.Sprintf("Allow Secrets [secretsmanager:GetSecretValue] %v <nil>", secrets),
		fmt.Sprintf("Allow Key [kms:Decrypt kms:GenerateDataKey] [%s] <nil>", n.KMSKey),
	})
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

// rolled changes the instance type of one broker, and fails unless that one was replaced, with what it keeps; then of the others at once, of which none
// may go.
func rolled(t *testing.T, ctx context.Context, s *stack, variables map[string]any, before production) {
	t.Helper()
	types := map[string]string{"1": "m7g.xlarge", "2": "m7g.2xlarge", "3": "m7g.xlarge"}
	variables["instance_types"] = types
	s.set(t, variables)
	would := s.plan(t, ctx, "roll.plan")
	for address, actions := range would {
		// delete, then create: a volume and an address are at one instance at a time.
		part, id, _ := strings.Cut(strings.TrimPrefix(address, "module.qanat."), "[")
		if !slices.Contains([]string{"aws_instance.broker", "aws_volume_attachment.data", "terraform_data.turn", "terraform_data.made_from"}, part) || id != `"2"]` || actions != "delete,create" {
			t.Errorf("another instance type of broker 2 plans %s of %s", actions, address)
		}
	}
	if len(would) != 4 {
		t.Errorf("another instance type of one broker plans %d changes: %v", len(would), would)
	}
	s.must(t, ctx, "apply", "-input=false", "roll.plan")
	replaced(t, ctx, s, before, types)

	want := readBack(t, ctx)
	variables["instance_types"] = map[string]string{"1": "m7g.4xlarge", "2": "m7g.2xlarge", "3": "m7g.4xlarge"}
	s.set(t, variables)
	if out, err := s.run(ctx, "apply", "-auto-approve", "-input=false"); err == nil || !strings.Contains(out, "Change one broker for each apply") {
		t.Errorf("an apply that replaces two brokers: %v\n%s", err, out)
	}
	same(t, "after an apply that was refused", readBack(t, ctx).Instances, want.Instances)
	variables["instance_types"] = types
	s.set(t, variables)
	s.must(t, ctx, "apply", "-auto-approve", "-input=false") // the turns that were given up come back
	replaced(t, ctx, s, before, types)
}

// replaced fails unless broker 2 alone has another instance than before, and all have their type, volume, address and name.
func replaced(t *testing.T, ctx context.Context, s *stack, before production, types map[string]string) {
	t.Helper()
	var after production
	s.outputs(t, ctx, &after)
	a := readBack(t, ctx)
	for id, b := range after.Brokers {
		was := before.Brokers[id]
		if (b.Instance != was.Instance) != (id == "2") {
			t.Errorf("broker %s has instance %s, and had %s", id, b.Instance, was.Instance)
		}
		same(t, "broker "+id+" keeps volume, address and name", []string{b.Volume, b.Address, b.Kafka}, []string{was.Volume, was.Address, was.Kafka})
		same(t, "broker "+id+": its volume is attached, its type is right", []any{a.Volumes[b.Volume].Attached, a.Instances[b.Instance].Type}, []any{[]string{b.Instance}, types[id]})
	}
}
