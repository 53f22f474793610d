"""Chats: messages, prompts, and the texts that a file's own template makes of them.

A template is a program that came with the file. It is rendered in a process of its own (`child`), which imports nothing
but this folder and jinja2 and has limits of time, memory and output.
"""
