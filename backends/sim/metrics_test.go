package sim_test

import (
	"context"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ocrmux/backends/sim"
)

// The names, types and labels are those of vLLM's V1 engine.
func TestMetrics_HaveVLLMsNamesTypesAndLabels(t *testing.T) {
	s := serve(t, atOnce(5))
	s.text(t, ocr(blank(10, 10), exact))
	resp, err := http.Get(s.url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got := readAll(t, resp.Body)
	const model = `engine="0",model_name="deepseek-ai/DeepSeek-OCR"`
	for _, want := range []string{
		"# TYPE vllm:num_requests_running gauge",
		"# TYPE vllm:num_requests_waiting gauge",
		"# TYPE vllm:kv_cache_usage_perc gauge",
		"# TYPE vllm:prompt_tokens_total counter",
		"# TYPE vllm:generation_tokens_total counter",
		"# TYPE vllm:request_success_total counter",
		"# TYPE vllm:num_preemptions_total counter",
		"# TYPE vllm:prefix_cache_queries_total counter",
		"# TYPE vllm:mm_cache_hits_total counter",
		"# TYPE vllm:time_to_first_token_seconds histogram",
		"# TYPE vllm:inter_token_latency_seconds histogram",
		"# TYPE vllm:request_time_per_output_token_seconds histogram",
		"# TYPE vllm:e2e_request_latency_seconds histogram",
		"# TYPE vllm:request_queue_time_seconds histogram",
		"# TYPE vllm:iteration_tokens_total histogram",
		"vllm:prompt_tokens_total{" + model + "} 277",
		"vllm:generation_tokens_total{" + model + "} 5",
		"vllm:e2e_request_latency_seconds_count{" + model + "} 1",
		"vllm:request_generation_tokens_sum{" + model + "} 5",
		`vllm:engine_sleep_state{` + model + `,sleep_state="awake"} 1`,
		`vllm:num_requests_waiting_by_reason{` + model + `,reason="capacity"} 0`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("no line %q among\n%s", want, withoutBuckets(got))
		}
	}
}

var buckets = regexp.MustCompile(`(?m)^(\S+_bucket.*|# HELP.*)\n`)

func withoutBuckets(exposition string) string { return buckets.ReplaceAllString(exposition, "") }

func TestMetrics_ShowAnEngineThatHangs(t *testing.T) {
	inBubble(t, slowly(), func(t *testing.T, s *sim.Server, client *http.Client) {
		scrape := func() string {
			resp, err := client.Get("http://sim/metrics")
			if err != nil {
				t.Fatal(err)
			}
			return readAll(t, resp.Body)
		}
		const labels = `{engine="0",model_name="deepseek-ai/DeepSeek-OCR"`
		finished := func(reason string) string {
			return `request_success_total{engine="0",finished_reason="` + reason + `",model_name="deepseek-ai/DeepSeek-OCR"}`
		}
		expect := func(lines ...string) {
			t.Helper()
			got := scrape()
			for _, l := range lines {
				if !strings.Contains(got, "vllm:"+l+"\n") {
					t.Errorf("no line vllm:%s among\n%s", l, withoutBuckets(got))
				}
			}
		}
		expect(`num_requests_running`+labels+`} 0`, `iteration_tokens_total_count`+labels+`} 0`, finished("stop")+" 0")
		if err := s.SetFaults(sim.Faults{MidStream: "hang", AfterEvents: 10}); err != nil {
			t.Fatal(err)
		}
		ctx, leave := context.WithCancel(t.Context())
		resp, err := client.Do(chatRequest(ctx, ocr(blank(10, 10), exact+`,"stream":true`)))
		if err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = io.Copy(io.Discard, resp.Body) }() // ends when the client leaves
		for range 2 {
			time.Sleep(time.Minute)
			expect(`num_requests_running`+labels+`} 1`, `iteration_tokens_total_count`+labels+`} 10`)
		}
		leave()
		synctest.Wait()
		expect(`num_requests_running`+labels+`} 0`,
			finished("abort")+" 1",
			`prompt_tokens_total`+labels+`} 277`,
			`generation_tokens_total`+labels+`} 10`)
	})
}
