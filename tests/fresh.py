"""A fresh process with transformers and torch but without this package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

FRESH = """
import json, logging, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "riverone_hf":
            raise ModuleNotFoundError("blocked: " + name)

sys.meta_path.insert(0, Blocked())
import torch
from PIL import Image
from transformers import AutoModel, AutoModelForImageTextToText, AutoProcessor, pipeline
from transformers.utils import logging as hf_logging

hf_logging.disable_progress_bar()
folder, figure = sys.argv[1:3]
model, info = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True, output_loading_info=True)
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
content = [{"type": "image", "path": figure}, {"type": "text", "text": sys.argv[3]}]
chat = [{"role": "user", "content": content}]
batch = processor.apply_chat_template(
    chat, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
)
with torch.no_grad():
    logits = model(**batch).logits
written = model.generate(**batch, max_new_tokens=6, do_sample=False)[0, batch["input_ids"].shape[1]:]
pipe = pipeline("image-text-to-text", model=folder, trust_remote_code=True)
answer = pipe(text=chat, return_full_text=False, generate_kwargs={"max_new_tokens": 6, "do_sample": False})
model.save_pretrained(folder + "-again")
torch.save(logits, folder + "-logits.pt")
print(json.dumps({
    "info": {key: sorted(map(str, value)) for key, value in info.items()},
    "module": type(model).__module__,
    "ids": batch["input_ids"][0].tolist(),
    "written": processor.decode(written, skip_special_tokens=True),
    "piped": answer[0]["generated_text"],
    "loaded": [name for name in sys.modules if name.startswith("riverone_hf")],
}))
"""


def run_fresh(folder: Path, figure: Path, home: Path, question: str = "see <image> <IMG_CONTEXT>") -> tuple[dict, str]:
    """Load `folder` in a process that cannot import this package; its report and what it printed on stderr.

    The logits lie in `<folder>-logits.pt` afterwards, and the model saved again from remote code in `<folder>-again`.
    """
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(home), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", FRESH, str(folder), str(figure), question],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr
