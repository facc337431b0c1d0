"""The old OCR service as its contract describes it, with its model stubbed.

service.py PROFILE PORT MODEL_URL

PROFILE is app or app_standard. Flask and Werkzeug are the versions under which
the old service was observed, so what they do by themselves (routing, forms,
limits, JSON) is the old behaviour and is not written here. What is written here
comes from the contract's rows alone. The text of an image is whatever the model
at MODEL_URL, which speaks vLLM's API, writes for the image's bytes; the router
is given the same one.
"""

import base64
import json
import os
import sys
import tempfile
import time
import urllib.error
import urllib.request
from datetime import datetime

from flask import Flask, jsonify, request
from PIL import Image
from werkzeug.utils import secure_filename

UPLOADS = "uploads"
EXTENSIONS = {"png", "jpg", "jpeg", "gif", "bmp", "webp"}
DEFAULT_PROMPT = "<image>\nFree OCR."
# With any others, the model may write another text from one time to the next.
SETTINGS = {
    "temperature": 0,
    "skip_special_tokens": False,
    "vllm_xargs": {"ngram_size": 30, "window_size": 90, "whitelist_token_ids": [128821, 128822]},
}
NO_GPU = {"available": False, "free_mb": 0, "total_mb": 0, "usage_percent": 0, "used_mb": 0}


class Model:
    """What loads an image and reads it."""

    def __init__(self, url):
        self.url = url

    def read(self, path):
        """The text of an image; what goes wrong is an exception."""
        with open(path, "rb") as file:
            image = base64.b64encode(file.read()).decode()
        content = [
            {"type": "text", "text": "Free OCR."},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64," + image}},
        ]
        body = {"messages": [{"role": "user", "content": content}], **SETTINGS}
        question = urllib.request.Request(
            self.url + "/v1/chat/completions",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(question, timeout=60) as answer:
                return json.load(answer)["choices"][0]["message"]["content"]
        except urllib.error.HTTPError as refusal:
            raise RuntimeError(json.load(refusal)["error"]["message"]) from None


def is_allowed(name):
    return "." in name and name.rsplit(".", 1)[1].lower() in EXTENSIONS


def overlap(text, prompt):
    """The share of a text's distinct words that stand in the prompt."""
    words = set(text.split())
    return len(words & set(prompt.split())) / len(words) if words else 0.0


class App:
    """app.py."""

    service = "DeepSeek-OCR API"
    batch_survives = False

    def __init__(self, model):
        self.model = model

    def prompt(self, given):
        return given or DEFAULT_PROMPT

    def clean(self, text):
        kept = []
        for line in text.split("\n"):
            if line.strip() and not line.strip().startswith(("===", "BASE:", "PATCHES:")):
                kept.append(line)
        return "\n".join(kept).strip()

    def infer(self, path, prompt):
        started = time.time()
        text = self.clean(self.model.read(path))
        taken = {"image_path": path, "processing_time": round(time.time() - started, 2)}
        if not text:
            return {"error": "模型未返回任何結果", "gpu_info": NO_GPU, **taken}
        if len(text) < 50 and overlap(text, prompt) > 0.7:
            debug = {"ocr_text_length": len(text), "prompt_overlap_ratio": overlap(text, prompt)}
            error = "OCR 辨識失敗：照片可能模糊或光線不足，請重新拍攝更清晰的照片"
            return {"error": error, "debug_info": debug, "gpu_info": NO_GPU, **taken}
        return {"text": text, "prompt": prompt, "gpu_info_before": NO_GPU, "gpu_info_after": NO_GPU, **taken}

    def failure(self, path, exception):
        return {"error": f"OCR 處理發生錯誤: {exception}", "image_path": path}


class Standard:
    """app_standard.py."""

    service = "DeepSeek-OCR API (Standard Transformers)"
    batch_survives = True

    def __init__(self, model):
        self.model = model

    def prompt(self, given):
        prompt = given or DEFAULT_PROMPT
        return prompt if "<image>" in prompt else "<image>\n" + prompt

    def infer(self, path, prompt):
        started = time.time()
        try:
            Image.open(path)
        except Exception as exception:
            return {"error": f"無法載入圖片: {exception}", "image_path": path}
        text = self.model.read(path)
        taken = {"image_path": path, "processing_time": time.time() - started}
        # The program compared characters by position. The contract says not to
        # copy that, nor how much was too much; this is the other program's rule.
        if len(text.strip()) < 50 and overlap(text, prompt) > 0.7:
            error = "OCR 結果疑似模型幻覺（文字過短且與提示詞高度重疊）。請嘗試拍攝更清晰的照片。"
            return {"error": error, "text": text, **taken}
        return {"text": text, "gpu_memory": NO_GPU, **taken}

    def failure(self, path, exception):
        return {"error": f"OCR 推理執行失敗: {exception}", "image_path": path}


def create(program):
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = 16 * 1024 * 1024

    def save(file, index=""):
        """Keeps an upload, as long as the service runs."""
        stamp = datetime.now().strftime("%Y%m%d_%H%M%S")
        path = os.path.join(UPLOADS, f"{stamp}_{index}{secure_filename(file.filename)}")
        file.save(path)
        return path

    def infer(path, prompt):
        try:
            return program.infer(path, prompt)
        except Exception as exception:
            return program.failure(path, exception)

    @app.get("/")
    def index():
        return "<!doctype html><title>DeepSeek-OCR</title>"

    @app.get("/health")
    def health():
        return jsonify(service=program.service, status="healthy", timestamp=datetime.now().isoformat())

    @app.post("/ocr")
    def ocr():
        if "file" not in request.files:
            return jsonify(error="請求中沒有檔案部分"), 400
        file = request.files["file"]
        if file.filename == "":
            return jsonify(error="未選擇檔案"), 400
        if not is_allowed(file.filename):
            return jsonify(error="不支援的檔案類型。允許的類型: " + ", ".join(EXTENSIONS)), 400
        prompt = program.prompt(request.form.get("prompt", ""))
        result = infer(save(file), prompt)
        return jsonify(result), 500 if "error" in result else 200

    @app.post("/ocr/batch")
    def batch():
        if "files" not in request.files:
            return jsonify(error="請求中沒有檔案部分"), 400
        files = request.files.getlist("files")
        prompt = program.prompt(request.form.get("prompt", ""))
        results = []
        for index, file in enumerate(files):
            if not is_allowed(file.filename):
                continue
            path = save(file, f"{index}_")
            results.append(infer(path, prompt) if program.batch_survives else program.infer(path, prompt))
        if not results:
            return jsonify(error="沒有有效的圖片檔案"), 400
        return jsonify(results=results, total=len(results))

    @app.errorhandler(413)
    def too_large(_):
        return jsonify(error="上傳的檔案過大，最大允許 16MB"), 413

    @app.errorhandler(500)
    def internal(error):
        return jsonify(error=f"內部伺服器錯誤: {error}"), 500

    return app


def main():
    profile, port, model = sys.argv[1:]
    program = {"app": App, "app_standard": Standard}[profile](Model(model))
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.mkdir(UPLOADS)
        create(program).run(host="127.0.0.1", port=int(port), threaded=True)


if __name__ == "__main__":
    main()
