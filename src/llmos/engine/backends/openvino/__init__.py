"""The `openvino` engine: Llama- and Qwen-type models through OpenVINO GenAI, from GGUF files or OpenVINO folders.

OpenVINO GenAI reads GGUF itself, but rounds the zero points of 4-bit groups to whole steps, which for SmolLM2 in Q4_1 moves
log-probabilities by more than 1 nat. LLMOS therefore builds the graph from the GGUF file itself, and caches it:

    backend.py    what is installed, what it runs, how it is loaded
      engine.py   the Engine: one thread drives OpenVINO GenAI's continuous batching
        request.py  a Request as OpenVINO GenAI's own configuration
      scoring.py  log-probabilities of continuations, by a compiled copy whose cache we steer
      convert.py  GGUF file -> folder with graph, tokenizer and configuration, cached
        graph.py    the network
        weights.py  GGUF blocks -> integers and scales
"""
