// Package batch is Kafka's record batch (magic 2) as a view over bytes.
//
// A batch is verified, stamped and walked where it lies, in the buffer that
// the network filled; nothing here copies record data unless a topic's
// compression.type asks for another codec.
//
//	offset  0  baseOffset           int64   not covered by the CRC
//	        8  batchLength          int32   bytes after this field
//	       12  partitionLeaderEpoch int32   not covered by the CRC
//	       16  magic                int8    2
//	       17  crc                  uint32  CRC32C of everything that follows
//	       21  attributes           int16   codec 0-2, timestamp type 3, transactional 4, control 5, delete horizon 6
//	       23  lastOffsetDelta      int32
//	       27  baseTimestamp        int64
//	       35  maxTimestamp         int64
//	       43  producerId           int64
//	       51  producerEpoch        int16
//	       53  baseSequence         int32
//	       57  recordsCount         int32
//	       61  records…
//
// Start reading at View. Source: Kafka's message format documentation, KIP-98.
package batch
