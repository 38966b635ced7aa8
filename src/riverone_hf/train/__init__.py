"""How is it trained?

Thin glue over transformers', TRL's and peft's trainers: tokenizer, ViT warm-up, supervised fine-tuning with one
collator that packs all questions of a plot behind one image prefix, preference training (MPO), adapters, a freeze
policy, averaged and best weights, and the few things that change when several processes train together.
"""
