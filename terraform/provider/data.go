package provider

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/qanat-io/qanat/terraform/provider/cluster"
)

// source is a data source: a schema, and a function that fills its model M.
type source[M any] struct {
	configured
	name   string
	schema schema.Schema
	fill   func(ctx context.Context, s *session, m *M) error
}

func (s *source[M]) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_" + s.name
}

func (s *source[M]) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	resp.Schema = s.schema
}

func (s *source[M]) Configure(_ context.Context, req datasource.ConfigureRequest, _ *datasource.ConfigureResponse) {
	if given, ok := req.ProviderData.(*session); ok {
		s.session = given
	}
}

func (s *source[M]) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var m M
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() || !s.must(&resp.Diagnostics) {
		return
	}
	if err := s.fill(ctx, s.session, &m); err != nil {
		report(&resp.Diagnostics, err)
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}

func computedString(text string) schema.StringAttribute {
	return schema.StringAttribute{Computed: true, MarkdownDescription: text}
}

func computedNumber(text string) schema.Int64Attribute {
	return schema.Int64Attribute{Computed: true, MarkdownDescription: text}
}

func computedStrings(text string) schema.ListAttribute {
	return schema.ListAttribute{Computed: true, ElementType: types.StringType, MarkdownDescription: text}
}

func computedObjects(text string, attributes map[string]schema.Attribute) schema.ListNestedAttribute {
	return schema.ListNestedAttribute{Computed: true, MarkdownDescription: text, NestedObject: schema.NestedAttributeObject{Attributes: attributes}}
}

type brokerModel struct {
	ID       int64  `tfsdk:"id"`
	Endpoint string `tfsdk:"endpoint"`
	Rack     string `tfsdk:"rack"`
	Active   bool   `tfsdk:"active"`
}

type clusterModel struct {
	ID         types.String  `tfsdk:"id"`
	Controller types.Int64   `tfsdk:"controller"`
	Level      types.Int64   `tfsdk:"metadata_level"`
	Topics     types.Int64   `tfsdk:"topics"`
	Brokers    []brokerModel `tfsdk:"brokers"`
	Racks      []string      `tfsdk:"racks"`
	Bootstrap  types.String  `tfsdk:"bootstrap_servers"`
	Healthy    types.Bool    `tfsdk:"healthy"`
	Problems   []string      `tfsdk:"problems"`
}

func newClusterData() datasource.DataSource {
	return &source[clusterModel]{
		name: "cluster",
		schema: schema.Schema{
			MarkdownDescription: "The cluster: its brokers, and whether all is well as far as the Kafka protocol shows it (`qanat cluster health` sees more).",
			Attributes: map[string]schema.Attribute{
				"id":             computedString("The cluster's id."),
				"controller":     computedNumber("The broker that leads the metadata quorum; -1: nobody."),
				"metadata_level": computedNumber("The level at which brokers of different releases work together."),
				"topics":         computedNumber("How many topics there are, internal ones not counted."),
				"brokers": computedObjects("Brokers that are registered, by id.", map[string]schema.Attribute{
					"id": computedNumber("`node.id`."), "endpoint": computedString("`HOST:PORT` for clients that come by the listener that the provider has come by."),
					"rack": computedString("`broker.rack`, or nothing."), "active": schema.BoolAttribute{Computed: true, MarkdownDescription: "Whether it is there."},
				}),
				"racks":             computedStrings("The racks of active brokers."),
				"bootstrap_servers": computedString("The endpoints of active brokers, separated by commas."),
				"healthy":           schema.BoolAttribute{Computed: true, MarkdownDescription: "Whether there are no problems."},
				"problems":          computedStrings("What is wrong, in words: partitions without a leader, replicas that are not in sync, brokers that are not there."),
			},
		},
		fill: func(ctx context.Context, s *session, m *clusterModel) error {
			o, err := s.Overview(ctx)
			if err != nil {
				return err
			}
			m.ID, m.Controller, m.Level, m.Topics = types.StringValue(o.ID), types.Int64Value(int64(o.Controller)), types.Int64Value(int64(o.Level)), types.Int64Value(int64(o.Topics))
			m.Brokers, m.Racks, m.Problems = []brokerModel{}, []string{}, append([]string{}, o.Problems...)
			var endpoints []string
			for _, b := range o.Brokers {
				m.Brokers = append(m.Brokers, brokerOf(b, true))
				endpoints = append(endpoints, endpoint(b))
				if b.Rack != "" && !slices.Contains(m.Racks, b.Rack) {
					m.Racks = append(m.Racks, b.Rack)
				}
			}
			for _, b := range o.Fenced {
				m.Brokers = append(m.Brokers, brokerOf(b, false))
			}
			slices.SortFunc(m.Brokers, func(a, b brokerModel) int { return int(a.ID - b.ID) })
			slices.Sort(m.Racks)
			m.Bootstrap, m.Healthy = types.StringValue(strings.Join(endpoints, ",")), types.BoolValue(len(o.Problems) == 0)
			return nil
		},
	}
}

func endpoint(b cluster.Broker) string { return fmt.Sprintf("%s:%d", b.Host, b.Port) }

func brokerOf(b cluster.Broker, active bool) brokerModel {
	m := brokerModel{ID: int64(b.ID), Rack: b.Rack, Active: active}
	if b.Host != "" {
		m.Endpoint = endpoint(b)
	}
	return m
}

func newTopicData() datasource.DataSource {
	return &source[topicModel]{
		name: "topic",
		schema: schema.Schema{
			MarkdownDescription: "One topic. That there is none of that name is an error.",
			Attributes: map[string]schema.Attribute{
				"id": computedString("The name."), "name": schema.StringAttribute{Required: true, MarkdownDescription: "The topic's name."},
				"partitions": computedNumber("How many partitions it has."), "replication_factor": computedNumber("How many replicas each partition has."),
				"configs":  schema.MapAttribute{Computed: true, ElementType: types.StringType, MarkdownDescription: "What was set on the topic."},
				"topic_id": computedString("The topic's id, hexadecimal."),
			},
		},
		fill: func(ctx context.Context, s *session, m *topicModel) error {
			t, err := s.Topic(ctx, m.Name.ValueString())
			if err == nil && t == nil {
				err = cluster.NoTopic(m.Name.ValueString())
			}
			if err != nil {
				return err
			}
			m.Configs = types.MapValueMust(types.StringType, nil)
			m.show(t)
			return nil
		},
	}
}

type topicsModel struct {
	Prefix types.String `tfsdk:"prefix"`
	Names  []string     `tfsdk:"names"`
}

func newTopicsData() datasource.DataSource {
	return &source[topicsModel]{
		name: "topics",
		schema: schema.Schema{
			MarkdownDescription: "The names of all topics, internal ones not counted.",
			Attributes: map[string]schema.Attribute{
				"prefix": schema.StringAttribute{Optional: true, MarkdownDescription: "Only names that begin with it."},
				"names":  computedStrings("The names, sorted."),
			},
		},
		fill: func(ctx context.Context, s *session, m *topicsModel) error {
			all, err := s.Topics(ctx)
			m.Names = []string{}
			for _, name := range all {
				if strings.HasPrefix(name, m.Prefix.ValueString()) {
					m.Names = append(m.Names, name)
				}
			}
			return err
		},
	}
}

type memberModel struct {
	ID       string `tfsdk:"id"`
	Instance string `tfsdk:"instance"`
	ClientID string `tfsdk:"client_id"`
	Host     string `tfsdk:"host"`
}

type lagModel struct {
	Topic     string `tfsdk:"topic"`
	Partition int64  `tfsdk:"partition"`
	Committed int64  `tfsdk:"committed"`
	End       int64  `tfsdk:"end"`
	Lag       int64  `tfsdk:"lag"`
}

type groupModel struct {
	Group      types.String  `tfsdk:"group"`
	State      types.String  `tfsdk:"state"`
	Type       types.String  `tfsdk:"type"`
	Protocol   types.String  `tfsdk:"protocol"`
	Members    []memberModel `tfsdk:"members"`
	Partitions []lagModel    `tfsdk:"partitions"`
	Lag        types.Int64   `tfsdk:"lag"`
}

func newGroupData() datasource.DataSource {
	return &source[groupModel]{
		name: "group",
		schema: schema.Schema{
			MarkdownDescription: "A consumer group: who is in it, and how far it is. A group that does not exist has the state `Dead`.",
			Attributes: map[string]schema.Attribute{
				"group": schema.StringAttribute{Required: true, MarkdownDescription: "The group's name."},
				"state": computedString("Such as `Stable` or `Empty`."), "type": computedString("`classic` or `consumer`."), "protocol": computedString("The assignor."),
				"members": computedObjects("Who is in it.", map[string]schema.Attribute{
					"id": computedString("The member's id."), "instance": computedString("`group.instance.id`, or nothing."),
					"client_id": computedString("`client.id`."), "host": computedString("Where it comes from."),
				}),
				"partitions": computedObjects("What it has committed, by topic and partition.", map[string]schema.Attribute{
					"topic": computedString("The topic."), "partition": computedNumber("The partition."), "committed": computedNumber("The offset that is read next."),
					"end": computedNumber("The partition's end; -1 where it is not known."), "lag": computedNumber("How many records are still to come."),
				}),
				"lag": computedNumber("How many records are still to come, in all of them."),
			},
		},
		fill: func(ctx context.Context, s *session, m *groupModel) error {
			g, err := s.Group(ctx, m.Group.ValueString())
			if err != nil {
				return err
			}
			m.State, m.Type, m.Protocol = types.StringValue(g.State), types.StringValue(g.Type), types.StringValue(g.Protocol)
			m.Members, m.Partitions = []memberModel{}, []lagModel{}
			for _, one := range g.Members {
				m.Members = append(m.Members, memberModel(one))
			}
			lag := int64(0)
			for _, o := range g.Offsets {
				m.Partitions = append(m.Partitions, lagModel{o.Topic, int64(o.Partition), o.Committed, o.End, o.Lag()})
				lag += o.Lag()
			}
			m.Lag = types.Int64Value(lag)
			return nil
		},
	}
}
