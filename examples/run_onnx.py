"""Joints of one person by an exported file, without AutoPose: python run_onnx.py pose.onnx photo.jpg [x y width height]

The file is from `python -m autopose.export checkpoint=... export.decode=true`; everything else stands in its metadata.
"""

import json
import sys

import cv2
import numpy as np
import onnxruntime

file, photo, *box = sys.argv[1:]
session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
about = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
if len(session.get_outputs()) < 3:
    sys.exit(f"{file} gives heatmaps alone: export it with export.decode=true")
image = cv2.imread(photo)
if image is None:
    sys.exit(f"{photo} cannot be read as a picture")
image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
x, y, w, h = map(float, box) if box else (0, 0, *image.shape[1::-1])

size, corner = np.array(about["input"]["size"]), int(about["udp"])
crop_width = max(w, h * size[0] / size[1]) * about["crop"]["padding"]
zoom = (size - corner) / (crop_width * np.array([1, size[1] / size[0]]))
offset = (size - corner) / 2 - zoom * (x + w / 2, y + h / 2)
crop = cv2.warpAffine(image, np.column_stack([np.diag(zoom), offset]), size.tolist())
pixels = (crop * about["input"]["scale"] - about["input"]["mean"]) / about["input"]["std"]
_, joints, scores = session.run(None, {"images": pixels.transpose(2, 0, 1)[None].astype(np.float32)})

for name, place, score in zip(about["joints"], (joints[0] - offset) / zoom, scores[0], strict=True):
    print(f"{name:16} x {place[0]:8.2f}  y {place[1]:8.2f}  score {score:.3f}")
