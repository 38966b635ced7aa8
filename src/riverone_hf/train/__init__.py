"""How is it trained?

Thin glue over transformers' and TRL's trainers: tokenizer, ViT warm-up, supervised fine-tuning with one collator that
packs all questions of a plot behind one image prefix.
"""
