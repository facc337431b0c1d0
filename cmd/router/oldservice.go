package main

import "fmt"

// oldVariable is an environment variable that the old Flask service, or the
// programs that it ran under, obeyed.
type oldVariable struct{ name, instead string }

const byModel = "vLLM prepares images as the model wants them"

var oldVariables = []oldVariable{
	{"OCR_TIMEOUT", "use legacy.timeout, with its unit, as in 300s"},
	{"OCR_BASE_SIZE", byModel},
	{"OCR_IMAGE_SIZE", byModel},
	{"OCR_CROP_MODE", byModel},
	{"OCR_TEST_COMPRESS", "there is no such test"},
	{"OCR_SAVE_RESULTS", "no result is written to disk; answers are kept in memory by cache.max_bytes and cache.ttl"},
	{"DEEPSEEK_MODEL_NAME", "use models and legacy.model, and start vllm serve with the model"},
	{"LOG_LEVEL", "use log.level, in lower case"},
	{"SECRET_KEY", "there are no sessions; keys of callers are in keys.file"},
	{"FLASK_APP", "there is no Flask"},
	{"FLASK_ENV", "there is no Flask"},
	{"FLASK_DEBUG", "use log.level: debug"},
	{"FLASK_RUN_HOST", "use http.listen"},
	{"FLASK_RUN_PORT", "use http.listen"},
	{"GUNICORN_CMD_ARGS", "there is no gunicorn; see http.listen, legacy.timeout and http.tls"},
	{"CUDA_VISIBLE_DEVICES", "the router uses no GPU; give it to each vllm serve"},
}

// oldVariablesSet are warnings about the variables of the old service that are
// set here and mean nothing, but for those that the configuration itself asks
// for. What they are set to is told nobody.
func oldVariablesSet(env func(string) (string, bool), asked map[string]bool) []string {
	var found []string
	for _, v := range oldVariables {
		if _, set := env(v.name); set && !asked[v.name] {
			found = append(found, fmt.Sprintf("%s is set in the environment, as for the old service, and has no effect: %s", v.name, v.instead))
		}
	}
	return found
}
