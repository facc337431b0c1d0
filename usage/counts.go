package usage

import "time"

// Counts are additive. The tags are the names of the journal.
type Counts struct {
	Requests int64 `json:"requests,omitzero"`
	Images   int64 `json:"images,omitzero"`
	Pixels   int64 `json:"pixels,omitzero"`
	// PromptTokens include those of images, as the backend counts.
	PromptTokens int64 `json:"prompt_tokens,omitzero"`
	// ImageTokens are what of PromptTokens the images became, estimated from
	// their size.
	ImageTokens     int64 `json:"image_tokens,omitzero"`
	GeneratedTokens int64 `json:"generated_tokens,omitzero"`
	// GPU is the time for which a slot of a backend was held.
	GPU       time.Duration `json:"gpu_ns,omitzero"`
	CacheHits int64         `json:"cache_hits,omitzero"`
	// Refused counts requests that a limit refused.
	Refused Refusals `json:"refused,omitzero"`
}

// Refusals counts refused requests by the limit that refused them.
type Refusals struct {
	Requests   int64 `json:"requests"`
	Images     int64 `json:"images"`
	Megapixels int64 `json:"megapixels"`
	Tokens     int64 `json:"tokens"`
	InProgress int64 `json:"in_progress"`
	Quota      int64 `json:"quota"`
	Capacity   int64 `json:"capacity"`
}

func (c *Counts) add(d *Counts) {
	c.Requests += d.Requests
	c.Images += d.Images
	c.Pixels += d.Pixels
	c.PromptTokens += d.PromptTokens
	c.ImageTokens += d.ImageTokens
	c.GeneratedTokens += d.GeneratedTokens
	c.GPU += d.GPU
	c.CacheHits += d.CacheHits
	c.Refused.add(&d.Refused)
}

// Total is how many there are, whatever refused them.
func (r *Refusals) Total() int64 {
	return r.Requests + r.Images + r.Megapixels + r.Tokens + r.InProgress + r.Quota + r.Capacity
}

func (r *Refusals) add(d *Refusals) {
	r.Requests += d.Requests
	r.Images += d.Images
	r.Megapixels += d.Megapixels
	r.Tokens += d.Tokens
	r.InProgress += d.InProgress
	r.Quota += d.Quota
	r.Capacity += d.Capacity
}
