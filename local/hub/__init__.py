"""A Hugging Face Hub on this machine: what `huggingface_hub` asks of the real one, over generated repositories."""
