# What rayjob.yaml runs. `pip wheel --no-deps --wheel-dir dist .` makes the wheel.
FROM rayproject/ray:2.60.0-py311-gpu
COPY constraints.txt dist/hybridtune-*.whl /tmp/hybridtune/
RUN pip install --no-cache-dir -c /tmp/hybridtune/constraints.txt "$(ls /tmp/hybridtune/hybridtune-*.whl)[cluster]"
