package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/qanat-io/qanat/broker/console"
)

func (a *app) topicStorageCommand() *cobra.Command {
	var partitions bool
	c := a.outputs(&cobra.Command{
		Use:   "storage [TOPIC]",
		Short: "Show where a topic's records are: on disk (hot), in the bucket (cold), or both",
		Long: `Show, for each partition, the ranges of offsets on disk (hot) and in the bucket (cold), their sizes, and
how far the uploads are behind. Ranges include their first offset and not their last. Asked of the admin port of one
broker, about the partitions that it has. Without a topic, one line for each.`,
		Args: wantArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			q := url.Values{}
			if len(args) == 1 {
				q.Set("topic", args[0])
			}
			var topics []console.TopicStorage
			err := a.ask(cmd.Context(), http.MethodGet, "/v1/storage", q, &topics)
			if len(args) == 1 && exitCode(err) == exitNotFound {
				return noTopic(args[0])
			}
			if err != nil {
				return err
			}
			if len(args) == 1 || partitions {
				return a.show(topics, partitionStorage(topics))
			}
			return a.show(topics, topicStorage(topics))
		},
	})
	c.Flags().BoolVarP(&partitions, "partitions", "p", false, "a line for each partition, of all topics")
	c.ValidArgsFunction = a.completeTopics(1)
	return c
}

func topicStorage(topics []console.TopicStorage) table {
	t := table{columns: []string{"TOPIC", "#PARTITIONS", "#RECORDS", "#HOT", "#COLD", "#PENDING", "#LAG", "+#HOT-SEGMENTS", "+#COLD-SEGMENTS", "ERROR"}}
	for _, x := range topics {
		var records, hot, cold, pending int64
		var hotSegments, coldSegments int
		var lag float64
		problem, grave := "", false // the first that is offline or damaged, else the first of all
		for _, p := range x.Partitions {
			records += p.LogEnd - p.LogStart
			hot += p.Hot.Bytes
			cold += p.Cold.Bytes
			hotSegments += p.Hot.Segments
			coldSegments += p.Cold.Segments
			pending += p.Upload.PendingBytes
			lag = max(lag, p.Upload.PendingSeconds)
			if e := partitionProblem(p); e != "" && (problem == "" || p.Error != "" && !grave) {
				grave = p.Error != ""
				problem = fmt.Sprintf("partition %d: %s", p.Partition, e)
			}
		}
		t.add(x.Topic, strconv.Itoa(len(x.Partitions)), strconv.FormatInt(records, 10), bytesText(hot), bytesText(cold),
			bytesText(pending), secondsText(lag), strconv.Itoa(hotSegments), strconv.Itoa(coldSegments), problem)
	}
	return t
}

func partitionStorage(topics []console.TopicStorage) table {
	t := table{columns: []string{
		"TOPIC", "#PARTITION", "#START", "#END", "HOT", "#SIZE", "COLD", "#SIZE", "#PENDING", "#LAG",
		"+#HOT-SEGMENTS", "+#COLD-SEGMENTS", "+#PAGES", "+#EPOCH", "+#COMMITTED", "ERROR"}}
	for _, x := range topics {
		for _, p := range x.Partitions {
			t.add(x.Topic, strconv.Itoa(int(p.Partition)), strconv.FormatInt(p.LogStart, 10), strconv.FormatInt(p.LogEnd, 10),
				extentText(p.Hot), bytesText(p.Hot.Bytes), extentText(p.Cold), bytesText(p.Cold.Bytes),
				bytesText(p.Upload.PendingBytes), secondsText(p.Upload.PendingSeconds),
				strconv.Itoa(p.Hot.Segments), strconv.Itoa(p.Cold.Segments), strconv.Itoa(p.Cold.Pages), strconv.Itoa(int(p.LeaderEpoch)),
				strconv.FormatInt(p.HighWatermark, 10), partitionProblem(p))
		}
	}
	return t
}

func partitionProblem(p console.PartitionStorage) string {
	if p.Error != "" {
		return p.Error
	}
	if p.Unreadable != "" {
		return p.Unreadable
	}
	return p.Upload.LastError
}

// extentText writes a half-open range.
func extentText(e console.Extent) string {
	if e.Start == e.End {
		return "-"
	}
	return fmt.Sprintf("[%d, %d)", e.Start, e.End)
}
