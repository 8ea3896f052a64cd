"""Translates: model.pt to model.net, proven spike for spike before the file is put in place.

Reading order: fold (tdBN into weights), quantize (the chip's integers), prove, cli; then poisson,
finetune, forms, scoring and score (what deployment costs) and sweep (quality against synops).
"""
