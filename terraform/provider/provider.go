package provider

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/qanat-io/qanat/terraform/provider/cluster"
)

// Address is where Terraform looks for the provider.
const Address = "registry.terraform.io/qanat-io/qanat"

// How long things take unless timeouts says otherwise.
const (
	requestTimeout = 30 * time.Second
	waitTimeout    = 20 * time.Minute
)

type qanatProvider struct {
	version string
	getenv  func(string) string
	session atomic.Pointer[session] // what Configure made last; server reads by it
}

// New is the provider of a version; environment is where what the configuration does not say is looked up.
func New(version string, environment func(string) string) func() provider.Provider {
	return func() provider.Provider { return &qanatProvider{version: version, getenv: environment} }
}

// session is what a configured provider gives to its resources.
type session struct {
	*cluster.Cluster
	allowDeletion bool
	request       time.Duration
}

type providerModel struct {
	Bootstrap     types.String `tfsdk:"bootstrap_servers"`
	TLS           types.Object `tfsdk:"tls"`
	Timeouts      types.Object `tfsdk:"timeouts"`
	AllowDeletion types.Bool   `tfsdk:"allow_deletion"`
}

type tlsModel struct {
	CA         types.String `tfsdk:"ca"`
	Cert       types.String `tfsdk:"cert"`
	Key        types.String `tfsdk:"key"`
	ServerName types.String `tfsdk:"server_name"`
	Insecure   types.Bool   `tfsdk:"insecure"`
}

type timeoutsModel struct {
	Request types.String `tfsdk:"request"`
	Wait    types.String `tfsdk:"wait"`
}

func (p *qanatProvider) Metadata(_ context.Context, _ provider.MetadataRequest, resp *provider.MetadataResponse) {
	resp.TypeName, resp.Version = "qanat", p.version
}

func (p *qanatProvider) Schema(_ context.Context, _ provider.SchemaRequest, resp *provider.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "Topics, configurations and groups' offsets of a [Qanat](https://github.com/qanat-io/qanat) cluster, over the Kafka protocol. " +
			"What cannot be done is refused by the plan: fewer partitions, unknown configurations, values that are none. For more replicas than brokers it warns: the same apply may start more.\n\n" +
			"All topics are read with one Metadata and one DescribeConfigs request, however many resources there are.",
		Attributes: map[string]schema.Attribute{
			"bootstrap_servers": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "Brokers to connect to, `HOST:PORT`, separated by commas. Without it: the environment's `QANAT_BROKERS`.",
			},
			"tls": schema.SingleNestedAttribute{
				Optional:            true,
				MarkdownDescription: "Speak TLS. `{}` trusts the CAs of this machine. Without it: TLS when the environment has `QANAT_TLS=true`, or any `QANAT_TLS_…` below.",
				Attributes: map[string]schema.Attribute{
					"ca":          schema.StringAttribute{Optional: true, MarkdownDescription: "The CAs to trust: PEM, or the path of a PEM file (`QANAT_TLS_CA`)."},
					"cert":        schema.StringAttribute{Optional: true, MarkdownDescription: "The certificate to show, where brokers ask for one: PEM, or a path (`QANAT_TLS_CERT`)."},
					"key":         schema.StringAttribute{Optional: true, Sensitive: true, MarkdownDescription: "Its private key: PEM, or a path (`QANAT_TLS_KEY`)."},
					"server_name": schema.StringAttribute{Optional: true, MarkdownDescription: "The name that brokers' certificates must have, in place of the one that is dialed (`QANAT_TLS_SERVER_NAME`)."},
					"insecure":    schema.BoolAttribute{Optional: true, MarkdownDescription: "Refused: a connection that checks no certificate is no TLS. Give `ca` instead."},
				},
			},
			"timeouts": schema.SingleNestedAttribute{
				Optional:            true,
				MarkdownDescription: "How long things may take, such as `\"45s\"` or `\"2h\"`.",
				Attributes: map[string]schema.Attribute{
					"request": schema.StringAttribute{Optional: true, MarkdownDescription: "One request, and until every broker shows what it has changed. Default `30s`."},
					"wait":    schema.StringAttribute{Optional: true, MarkdownDescription: "Until replicas are copied. The cluster goes on by itself after it. Default `20m`."},
				},
			},
			"allow_deletion": schema.BoolAttribute{
				Optional:            true,
				MarkdownDescription: "Whether topics may be deleted, with all their records. Default `false`: a plan that deletes or replaces a topic is refused.",
			},
		},
	}
}

// Configure makes the session. What is unknown yet, because the cluster is made by the same apply, leaves the session empty: plans then ask nobody.
func (p *qanatProvider) Configure(ctx context.Context, req provider.ConfigureRequest, resp *provider.ConfigureResponse) {
	var m providerModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	s := &session{allowDeletion: m.AllowDeletion.ValueBool()}
	resp.ResourceData, resp.DataSourceData = s, s
	defer p.session.Store(s) // when it is whole
	settings := cluster.Settings{Version: p.version, Request: requestTimeout, Wait: waitTimeout}
	known := !m.Bootstrap.IsUnknown() && !m.TLS.IsUnknown() && !m.Timeouts.IsUnknown()
	if !known {
		return
	}
	bootstrap := m.Bootstrap.ValueString()
	if bootstrap == "" {
		bootstrap = p.getenv("QANAT_BROKERS")
	}
	settings.Bootstrap = strings.FieldsFunc(bootstrap, func(r rune) bool { return r == ',' || r == ' ' })
	if len(settings.Bootstrap) == 0 {
		resp.Diagnostics.AddAttributeError(path.Root("bootstrap_servers"), "No brokers are named", `Write bootstrap_servers = "HOST:PORT,HOST:PORT", or set QANAT_BROKERS.`)
	}
	settings.Request, settings.Wait = p.timeouts(ctx, m.Timeouts, &resp.Diagnostics)
	settings.TLS, known = p.tls(ctx, m.TLS, &resp.Diagnostics)
	if !known || resp.Diagnostics.HasError() {
		return
	}
	s.request = settings.Request
	s.Cluster = cluster.New(settings)
}

func (p *qanatProvider) timeouts(ctx context.Context, o types.Object, d *diag.Diagnostics) (request, wait time.Duration) {
	request, wait = requestTimeout, waitTimeout
	if o.IsNull() {
		return request, wait
	}
	var m timeoutsModel
	d.Append(o.As(ctx, &m, basetypes.ObjectAsOptions{})...)
	for _, t := range []struct {
		name string
		text types.String
		to   *time.Duration
	}{{"request", m.Request, &request}, {"wait", m.Wait, &wait}} {
		if t.text.IsNull() || t.text.IsUnknown() {
			continue
		}
		v, err := time.ParseDuration(t.text.ValueString())
		if err != nil || v < time.Second || v > 7*24*time.Hour {
			d.AddAttributeError(path.Root("timeouts").AtName(t.name), "Not a time", fmt.Sprintf("%q must be a time between 1s and 168h, such as \"45s\", \"20m\" or \"2h\".", t.text.ValueString()))
			continue
		}
		*t.to = v
	}
	return request, wait
}

// tls is nil for plain connections; known is false as long as Terraform does not know all of it.
func (p *qanatProvider) tls(ctx context.Context, o types.Object, d *diag.Diagnostics) (c *tls.Config, known bool) {
	var m tlsModel
	on := !o.IsNull()
	if on {
		d.Append(o.As(ctx, &m, basetypes.ObjectAsOptions{})...)
	}
	if m.Insecure.ValueBool() {
		d.AddAttributeError(path.Root("tls").AtName("insecure"), "TLS without a check of the certificate is refused",
			"Whoever answers would be taken for the cluster, and would be given what this configuration says. Write ca = \"…\" with the CA that signed the brokers' certificates "+
				"(`qanat cert dev` writes ca.pem), and server_name where the name that is dialed is not in them.")
	}
	text := func(v types.String, env string) string {
		s := v.ValueString()
		if v.IsNull() {
			s = p.getenv(env)
		}
		on = on || s != ""
		return s
	}
	ca, cert, key := text(m.CA, "QANAT_TLS_CA"), text(m.Cert, "QANAT_TLS_CERT"), text(m.Key, "QANAT_TLS_KEY")
	c = &tls.Config{ServerName: text(m.ServerName, "QANAT_TLS_SERVER_NAME")}
	if v := p.getenv("QANAT_TLS"); v == "true" || v == "1" {
		on = true
	}
	if m.CA.IsUnknown() || m.Cert.IsUnknown() || m.Key.IsUnknown() || m.ServerName.IsUnknown() || m.Insecure.IsUnknown() {
		return nil, false
	}
	if !on {
		return nil, true
	}
	if (cert == "") != (key == "") {
		d.AddAttributeError(path.Root("tls"), "A certificate and its key go together", "Write both tls.cert and tls.key, or neither.")
		return nil, false
	}
	// Files may be made by the same apply: they are read when somebody is dialed.
	if ca != "" || cert != "" {
		trust, show := pemSource(ca), [2]pemSource{pemSource(cert), pemSource(key)}
		if err := prepare(c, trust, show); err != nil {
			if os.IsNotExist(err) {
				d.AddAttributeWarning(path.Root("tls"), "A file for TLS is not there yet", err.Error()+"\n\nThis is as it should be when the cluster is made by the same apply: until then the plan is not checked by the cluster.")
				return nil, false
			}
			d.AddAttributeError(path.Root("tls"), "TLS cannot be used as it is configured", err.Error())
			return nil, false
		}
	}
	return c, true
}

// pemSource is PEM, or a path.
type pemSource string

func (s pemSource) read() ([]byte, error) {
	if strings.Contains(string(s), "-----BEGIN ") {
		return []byte(s), nil
	}
	return os.ReadFile(string(s))
}

func prepare(c *tls.Config, ca pemSource, pair [2]pemSource) error {
	if ca != "" {
		text, err := ca.read()
		if err != nil {
			return err
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return fmt.Errorf("tls.ca holds no certificate: it is to hold -----BEGIN CERTIFICATE-----, or to be the path of a file that does")
		}
	}
	if pair[0] == "" {
		return nil
	}
	cert, err := pair[0].read()
	if err != nil {
		return err
	}
	key, err := pair[1].read()
	if err != nil {
		return err
	}
	both, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("tls.cert and tls.key: %w: the key is the one that the certificate was asked for with, both PEM", err)
	}
	c.Certificates = []tls.Certificate{both}
	return nil
}

func (p *qanatProvider) Resources(context.Context) []func() resource.Resource {
	return []func() resource.Resource{newTopic, newOffsets, newClusterConfig, newBrokerConfig}
}

func (p *qanatProvider) DataSources(context.Context) []func() datasource.DataSource {
	return []func() datasource.DataSource{newClusterData, newTopicData, newTopicsData, newGroupData}
}

// ImportExamples are what is typed to import, for the reference.
var ImportExamples = map[string]string{
	"qanat_topic":          "qanat_topic.orders orders",
	"qanat_group_offsets":  "qanat_group_offsets.billing billing/orders",
	"qanat_cluster_config": "qanat_cluster_config.all cluster",
	"qanat_broker_config":  "qanat_broker_config.third 3",
}
