"""What a training step costs by arithmetic: operations, bytes kept, bytes sent, and many
devices.
"""
