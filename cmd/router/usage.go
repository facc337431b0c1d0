package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"text/tabwriter"

	"ocrmux/usage"
)

// showUsage prints what tenants and keys used, as a running router counts it.
func showUsage(args []string, stdout, stderr io.Writer) error {
	set := flag.NewFlagSet("router usage", flag.ContinueOnError)
	admin := set.String("admin", "http://127.0.0.1:5001", "the `URL` of the router's operators' listener")
	tokenFile := set.String("token-file", "", "the `file` with the operators' token, without which it is that of "+adminTokenVariable)
	tenant := set.String("tenant", "", "the `name` of the tenant whose usage is wanted; all without")
	today := set.Bool("today", false, "print this day (UTC) only")
	month := set.Bool("month", false, "print this month (UTC) only")
	asJSON := set.Bool("json", false, "print the router's answer, by model and route and with refusals by limit")
	if err := flags(set, args, stderr); err != nil {
		return err
	}
	if *asJSON && (*today || *month) {
		return usageError{errors.New("usage: -json prints today and this month; -today and -month are for tables")}
	}
	router, err := newRemote(*admin, *tokenFile, os.LookupEnv)
	if err != nil {
		return err
	}
	report, err := router.usage(*tenant)
	if err != nil {
		return err
	}
	if *asJSON {
		return printJSON(stdout, report)
	}
	both := *today == *month
	if both || *today {
		err = printUsage(stdout, "today", report.Today)
	}
	if both {
		fmt.Fprintln(stdout)
	}
	if both || *month {
		err = cmp.Or(err, printUsage(stdout, "this month", report.Month))
	}
	return err
}

// printUsage prints a table with a line for each key of a tenant and the totals last.
func printUsage(w io.Writer, title string, s usage.Summary) error {
	fmt.Fprintf(w, "%s, %s (UTC)\n", title, s.Period)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "tenant\tkey\trequests\timages\tmegapixels\tprompt tokens\tgenerated tokens\tGPU s\tcache hits\trefused\t")
	for _, row := range byKey(s.Rows) {
		usageLine(table, row.Tenant, cmp.Or(row.Key, "-"), row.Usage)
	}
	usageLine(table, "total", "", s.Total)
	return table.Flush()
}

func usageLine(w io.Writer, tenant, key string, u usage.Usage) {
	fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t%d\t%d\t%s\t%d\t%d\t\n", tenant, key, u.Requests, u.Images, oneDecimal(u.Megapixels),
		u.PromptTokens, u.GeneratedTokens, oneDecimal(u.GPUSeconds), u.CacheHits, u.Refused.Total())
}

func oneDecimal(f float64) string { return strconv.FormatFloat(f, 'f', 1, 64) }

// byKey adds up the models and routes of each key, in the order of the rows.
func byKey(rows []usage.Row) []usage.Row {
	var sums []usage.Row
	places := map[usage.Who]int{}
	for _, row := range rows {
		who := usage.Who{Tenant: row.Tenant, Key: row.Key}
		i, known := places[who]
		if !known {
			i = len(sums)
			places[who] = i
			sums = append(sums, usage.Row{Who: who})
		}
		sums[i].Add(&row.Usage)
	}
	return sums
}
