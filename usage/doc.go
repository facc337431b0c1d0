// Package usage remembers what every tenant and key has used.
//
// Ledger.Record adds to a table in memory, by UTC day and by who it was. Once a
// second Ledger.Run appends what is new to a journal, a line for each series,
// and syncs it. Open reads the journal back, leaves out what is damaged, and
// writes it anew where it has grown long. Ledger.Month answers what a quota is
// held against, and Ledger.Report what people ask.
//
// Nothing is counted twice: a batch of lines that could not be written is tried
// again byte for byte at the same place, so whatever part of it is on the disk
// already is the same, and a line whose number was read before is left out. A
// disk that is full stops the journal and not the service; the table is bounded
// and goes on counting.
package usage
