package main

import (
	"fmt"
	"slices"
)

// round is a window of the floor and one of the router, in this order.
type round [2]result

const tableHeader = `| Scenario | CPU, router / floor | range | CPU an answer, µs | answers a second of CPU | answers/s | p50, ms | p99, ms | peak, MiB | others, cores |
|---|---|---|---|---|---|---|---|---|---|
`

// row is a line of the table. The ratio is the median of the rounds' ratios,
// not the ratio of medians: a round meets one state of the machine, several
// rounds meet several.
func row(name string, rounds []round) string {
	ratios := sorted(rounds, func(r round) float64 { return r[1].cpuMicros / r[0].cpuMicros })
	others := sorted(rounds, func(r round) float64 { return max(0, r[0].otherCores, r[1].otherCores) })
	both := func(format string, of func(result) float64) string {
		router := median(sorted(rounds, func(r round) float64 { return of(r[1]) }))
		floor := median(sorted(rounds, func(r round) float64 { return of(r[0]) }))
		return fmt.Sprintf(format+" / "+format, router, floor)
	}
	return fmt.Sprintf("| %s | **%.2f** | %.2f–%.2f | %s | %s | %s | %s | %s | %s | %.1f |\n",
		name, median(ratios), ratios[0], ratios[len(ratios)-1],
		both("%.0f", func(r result) float64 { return r.cpuMicros }),
		both("%.0f", func(r result) float64 { return 1e6 / r.cpuMicros }),
		both("%.0f", func(r result) float64 { return r.perSecond }),
		both("%.1f", func(r result) float64 { return r.p50 }),
		both("%.1f", func(r result) float64 { return r.p99 }),
		both("%.0f", func(r result) float64 { return r.peakMiB }),
		median(others))
}

func sorted(rounds []round, of func(round) float64) []float64 {
	values := make([]float64, len(rounds))
	for i, r := range rounds {
		values[i] = of(r)
	}
	slices.Sort(values)
	return values
}

// median of sorted values.
func median(values []float64) float64 {
	half := len(values) / 2
	if len(values)%2 == 1 {
		return values[half]
	}
	return (values[half-1] + values[half]) / 2
}
