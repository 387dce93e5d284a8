"""The shared kernel: what two services need today, holds no business noun, and would be the same in another product.

Imported by path, without a version: a change here and in all its users is one commit.
"""
